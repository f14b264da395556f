// One scripted session of OpenAI's Node client against the server of TUNESMITH_BASE; what it met is printed as JSON.
import { createReadStream } from "node:fs";
import OpenAI from "openai";

const [rows, held, tuned] = process.argv.slice(2);
const client = new OpenAI({
  apiKey: process.env.TUNESMITH_TOKEN,
  baseURL: process.env.TUNESMITH_BASE,
  maxRetries: 0,
  timeout: 300_000,
});
const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

async function until(id, wanted) {
  for (let round = 0; round < 2400; round++) {
    const job = await client.fineTuning.jobs.retrieve(id);
    if (wanted.includes(job.status)) return job;
    if (["failed", "succeeded", "cancelled"].includes(job.status)) throw new Error(JSON.stringify(job));
    await pause(0.1);
  }
  throw new Error(`${id} does not become ${wanted}`);
}

async function stepped(id, least) {
  for (let round = 0; round < 2400; round++) {
    const steps = [];
    for await (const event of client.fineTuning.jobs.listEvents(id)) {
      if (event.type === "metrics") steps.push(event.data.step);
    }
    if (Math.max(0, ...steps) >= least) return Math.max(...steps);
    await pause(0.1);
  }
  throw new Error(`${id} does not step`);
}

async function fault(call) {
  try {
    await call();
  } catch (error) {
    return [error.constructor.name, error.status, error.code, error.param];
  }
  return null;
}

const met = {};
let file = await client.files.create({ file: createReadStream(rows), purpose: "fine-tune" });
file = await client.files.waitForProcessing(file.id);
const validation = await client.files.create({ file: createReadStream(held), purpose: "fine-tune" });
met.file = [file.object, file.purpose, file.status];
met.content = await (await client.files.content(file.id)).text();

const settings = { n_epochs: 400, batch_size: 4, learning_rate_multiplier: "auto" };
const job = await client.fineTuning.jobs.create({
  model: "tiny",
  training_file: file.id,
  validation_file: validation.id,
  suffix: "node",
  seed: 3,
  metadata: { from: "node" },
  method: { type: "supervised", supervised: { hyperparameters: settings } },
});
met.created = [job.object, job.seed, job.metadata, job.method.supervised.hyperparameters];
await until(job.id, ["running"]);
const before = await stepped(job.id, 2);
await client.fineTuning.jobs.pause(job.id);
met.paused = (await until(job.id, ["paused"])).status;
await client.fineTuning.jobs.resume(job.id);
met.goesOn = (await stepped(job.id, before + 1)) > before;
await client.fineTuning.jobs.cancel(job.id);
met.cancelled = (await until(job.id, ["cancelled"])).status;

const asked = { model: tuned, max_tokens: 12, temperature: 0, messages: [{ role: "user", content: "snow: which colour?" }] };
const whole = await client.chat.completions.create(asked);
met.answer = whole.choices[0].message.content;
met.usage = whole.usage.completion_tokens;
met.pieces = [];
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  if (chunk.choices[0]?.delta?.content) met.pieces.push(chunk.choices[0].delta.content);
}
met.models = [];
for await (const model of client.models.list()) met.models.push(model.id);

const create = (more) => () => client.fineTuning.jobs.create({ model: "tiny", training_file: file.id, ...more });
met.faults = {
  file: await fault(create({ training_file: "file-nope" })),
  model: await fault(create({ model: "nope" })),
  job: await fault(() => client.fineTuning.jobs.retrieve("ftjob-nope")),
  ended: await fault(() => client.fineTuning.jobs.cancel(job.id)),
  chat: await fault(() => client.chat.completions.create({ ...asked, model: "nope" })),
  token: await fault(() => client.withOptions({ apiKey: "wrong" }).models.list()),
};
await client.files.delete(file.id);
met.deleted = await fault(() => client.files.retrieve(file.id));
console.log(JSON.stringify(met));
