"""The workshop of the text-to-SQL example: schemas, data, queries and their wording. It knows nothing of Tunesmith."""
