import numpy as np
import pytest

from toy import icons

STYLE = icons.Style(
    background=np.array([0.9, 0.8, 0.7], np.float32),
    fill=np.array([0.1, 0.2, 0.6], np.float32),
    second=np.array([0.7, 0.1, 0.1], np.float32),
    pattern=icons.PATTERNS.index("plain"),
    outline=icons.OUTLINES.index("borderless"),
    backdrop=icons.BACKDROPS.index("flat"),
)


def styled(**parts: str) -> icons.Style:
    lists = {"pattern": icons.PATTERNS, "outline": icons.OUTLINES, "backdrop": icons.BACKDROPS}
    return icons.Style(**{**vars(STYLE), **{part: lists[part].index(word) for part, word in parts.items()}})


def drawn(shape: str, style: icons.Style = STYLE) -> np.ndarray:
    return icons.draw(np.random.default_rng(1), shape, style)


def uint8(colour: np.ndarray) -> np.ndarray:
    return (colour * 255).astype(np.uint8)


@pytest.mark.parametrize("shape", icons.SHAPES)
def test_a_shape_stands_on_its_background(shape):
    image = drawn(shape)
    assert image.shape == (icons.SIZE, icons.SIZE, 3)
    assert image.dtype == np.uint8
    assert (image[[0, -1]] == uint8(STYLE.background)).all()
    inside = (image == uint8(STYLE.fill)).all(-1).mean()
    assert 0.05 < inside < 0.6


def test_shapes_differ():
    assert len({drawn(shape).tobytes() for shape in icons.SHAPES}) == len(icons.SHAPES)


@pytest.mark.parametrize(
    ("part", "word"),
    [
        *(("pattern", word) for word in icons.PATTERNS[1:]),
        *(("outline", word) for word in icons.OUTLINES[1:]),
        *(("backdrop", word) for word in icons.BACKDROPS[1:]),
    ],
)
def test_every_part_of_a_style_shows_where_it_should(part, word):
    plain, image = drawn("square"), drawn("square", styled(**{part: word}))
    body = (plain == uint8(STYLE.fill)).all(-1)
    changed = (plain != image).any(-1)
    assert changed.any()
    outside = (plain == uint8(STYLE.background)).all(-1)
    assert not changed[outside if part == "pattern" else body].any()


def test_an_outline_is_as_wide_all_along_a_straight_edge():
    plain, image = drawn("square"), drawn("square", styled(outline="inked"))
    row = (plain != image).any(-1)[icons.SIZE // 2]
    assert row.sum() == 2 * icons.OUTLINE


def test_outlines_are_as_frequent_as_each_other_and_stand_out():
    rng = np.random.default_rng(0)
    styles = [icons.random_style(rng) for _ in range(600)]
    words = [icons.OUTLINES[style.outline] for style in styles]
    assert all(0.25 < words.count(word) / len(words) < 0.42 for word in icons.OUTLINES)
    for word, style in zip(words, styles, strict=True):
        if word != "borderless":
            assert abs(style.background - icons.LINES[word]).sum() > 0.9


def test_an_unknown_shape_is_named():
    with pytest.raises(ValueError, match=r"'blob'.*circle"):
        drawn("blob")


def test_captions_say_what_is_drawn():
    rng = np.random.default_rng(0)
    for _ in range(100):
        style = icons.random_style(rng)
        assert set(icons.random_caption(rng, "moon", style)) <= {"moon", *style.words}


def test_words_are_found_in_free_text():
    assert icons.words("A Star, (striped) and DARK; starlight.") == ["star", "striped", "dark"]
    assert icons.words("<start> nothing known <end>") == []


def test_every_word_has_its_token():
    assert len(set(icons.VOCABULARY)) == len(icons.VOCABULARY) == 30
    for word in icons.VOCABULARY[2:]:
        start, token, *padding = icons.token_ids(icons.words(word))
        assert icons.VOCABULARY[start] == icons.START
        assert icons.VOCABULARY[token] == word
        assert {icons.VOCABULARY[end] for end in padding} == {icons.END}


def test_a_long_caption_is_cut_to_the_context():
    ids = icons.token_ids(["star"] * 20)
    assert len(ids) == icons.CONTEXT_LENGTH
    assert ids[-1] == icons.TOKEN_OF[icons.END]


def test_a_seed_decides_the_data_set():
    data, same, other = icons.dataset(5, seed=0), icons.dataset(5, seed=0), icons.dataset(5, seed=1)
    for first, second in zip(data, same, strict=True):
        np.testing.assert_array_equal(first, second)
    assert (data.images != other.images).any()


def test_labels_and_captions_of_the_data_set_agree():
    data = icons.dataset(50, seed=2)
    for tokens, (shape, pattern, outline, backdrop, tone) in zip(data.tokens, data.labels, strict=True):
        said = {icons.VOCABULARY[token] for token in tokens} - {icons.START, icons.END}
        assert said <= {
            icons.SHAPES[shape],
            icons.PATTERNS[pattern],
            icons.OUTLINES[outline],
            icons.BACKDROPS[backdrop],
            icons.TONES[tone],
        }


def test_palettes_are_the_colours_that_show():
    data = icons.dataset(50, seed=3)
    for image, (_, pattern, _, backdrop, _), palette in zip(data.images, data.labels, data.palettes, strict=True):
        background, *fills = (palette * 255).astype(np.uint8)
        shown = {tuple(pixel) for pixel in image.reshape(-1, 3).tolist()}
        assert {tuple(fill.tolist()) for fill in fills} <= shown
        assert len({tuple(fill) for fill in fills}) == (1 if icons.PATTERNS[pattern] == "plain" else 2)
        if icons.BACKDROPS[backdrop] in ("flat", "dotted"):
            assert tuple(background.tolist()) in shown


def test_a_framed_icon_has_its_fill_at_the_edge():
    image = drawn("moon", styled(backdrop="framed"))
    assert (image[[0, -1]] == uint8(STYLE.fill)).all()
    assert (image[icons.FRAME, icons.FRAME : -icons.FRAME] == uint8(STYLE.background)).all()
