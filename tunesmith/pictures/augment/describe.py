"""Settings as sentences for a person: what each active step does, with its ranges."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.pictures.augment.settings import AugmentSettings, Background, Camera, Light, Viewpoint


def steps(settings: AugmentSettings) -> tuple[str, ...]:
    """One sentence for each step that is on; none where nothing is drawn."""
    return (
        *(f"Viewpoint: {text}." for text in _viewpoint(settings.viewpoint)),
        *(f"Light: {text}." for text in _light(settings.light)),
        *(f"Background: {text}." for text in _background(settings.background)),
        *(f"Camera: {text}." for text in _camera(settings.camera)),
        *(f"Together: {text}." for text in _together(settings)),
    )


def sentences(settings: AugmentSettings) -> tuple[str, ...]:
    """What happens to pictures under settings with every value filled in (``settings_of``)."""
    found = steps(settings)
    if not found:
        return ("Pictures are not varied.",)
    if settings.views is not None:
        views = "1 view" if settings.views == 1 else f"{settings.views} views"
        found += (f"With a frozen backbone {views} of each picture are drawn once and recorded.",)
    return found


def _viewpoint(view: Viewpoint) -> Iterator[str]:
    if view.flip:
        yield f"{view.flip:.0%} of the pictures are mirrored left to right"
    if view.vertical_flip:
        yield f"{view.vertical_flip:.0%} are mirrored top to bottom"
    if view.quarter_turn:
        yield f"{view.quarter_turn:.0%} are turned by 90, 180 or 270 degrees"
    if view.rotate:
        yield f"turned by up to {view.rotate:g} degrees either way"
    if view.scale != (1.0, 1.0):
        yield f"things become {view.scale[0]:g} to {view.scale[1]:g} times as large"
    if view.crop != (1.0, 1.0):
        yield f"a cut of {view.crop[0]:.0%} to {view.crop[1]:.0%} of the area fills the input"
    if view.aspect != (1.0, 1.0):
        yield f"stretched {view.aspect[0]:g} to {view.aspect[1]:g} times across against down"
    if view.perspective:
        yield f"seen askew, each corner moved by up to {view.perspective:.0%} of the sides"
    if view.translate:
        yield f"shifted by up to {view.translate:.0%} of the sides"
    if view != Viewpoint(min_visible=view.min_visible) and view.min_visible:
        yield f"objects of which less than {view.min_visible:.0%} is left are dropped, and counted"


def _light(light: Light) -> Iterator[str]:
    if light.brightness:
        yield f"brightness times {1 - light.brightness:g} to {1 + light.brightness:g}"
    if light.contrast:
        yield f"contrast times {1 - light.contrast:g} to {1 + light.contrast:g}"
    if light.hue:
        yield f"colours turned by up to {light.hue:g} degrees of the colour circle"
    if light.saturation:
        yield f"saturation times {1 - light.saturation:g} to {1 + light.saturation:g}"
    if light.gamma:
        yield f"gamma {1 / (1 + light.gamma):.2f} to {1 + light.gamma:.2f}"
    if light.shadow:
        low, high = light.shadow_depth
        yield f"a shadow on {light.shadow:.0%} of the pictures takes {low:.0%} to {high:.0%} of the light"


def _background(behind: Background) -> Iterator[str]:
    if behind.paste:
        on = f"pictures of {behind.folder}" if behind.folder else "painted ones"
        yield f"{behind.paste:.0%} of the pictures with a mask or outlines get another background, from {on}"
    if behind.blur:
        low, high = behind.blur_radius
        yield (
            f"{behind.blur:.0%} of the pictures with a mask or outlines get their background blurred, "
            f"over {low:.1%} to {high:.1%} of the shorter side"
        )
    if behind.cut_out:
        low, high = behind.cut_out_size
        yield f"on {behind.cut_out:.0%} of the pictures a rectangle of {low:.0%} to {high:.0%} of the sides is covered"


def _camera(camera: Camera) -> Iterator[str]:
    if camera.motion_blur:
        low, high = camera.motion_length
        yield f"{camera.motion_blur:.0%} of the pictures are blurred along {low:.1%} to {high:.1%} of the shorter side"
    if camera.resolution:
        low, high = camera.resolution_scale
        yield f"{camera.resolution:.0%} keep only {low:.0%} to {high:.0%} of their resolution"
    if camera.noise:
        low, high = camera.noise_level
        yield f"{camera.noise:.0%} get noise of {low:g} to {high:g} grey levels"
    if camera.jpeg:
        low, high = camera.jpeg_quality
        yield f"{camera.jpeg:.0%} are written as JPEG of quality {low} to {high}"


def _together(settings: AugmentSettings) -> Iterator[str]:
    if settings.mosaic:
        yield f"{settings.mosaic:.0%} of the pictures are a mosaic of four"
    if settings.mixup:
        yield f"{settings.mixup:.0%} are blended with another"
    if (settings.mosaic or settings.mixup) and settings.close_out:
        yield f"neither in the last {settings.close_out:.0%} of the epochs"
