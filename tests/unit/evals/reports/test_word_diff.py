from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from fairway.evals.reports.word_diff import Kept, diff_words, shortest_edit, words

TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(["ask", "refund", "now", ".", " ", "\n", "確", "認"]), max_size=40).map("".join),
)


def joined(pieces, *kept: Kept) -> str:
    return "".join(piece.text for piece in pieces if piece.kept in kept)


@given(TEXTS, TEXTS, st.sampled_from([0, 3, 600]))
@example("", "", 600)
@example("a b", "b a", 600)
def test_what_stayed_and_what_went_is_the_old_text_what_stayed_and_what_came_the_new_one(old, new, most):
    pieces = diff_words(old, new, most_edits=most)
    assert joined(pieces, Kept.SAME, Kept.REMOVED) == old
    assert joined(pieces, Kept.SAME, Kept.ADDED) == new


@given(TEXTS)
def test_equal_texts_have_one_piece(text):
    assert [piece.kept for piece in diff_words(text, text)] == ([Kept.SAME] if text else [])


@given(TEXTS)
def test_words_joined_are_the_text(text):
    assert "".join(words(text)) == text


def reference(old: list[str], new: list[str]) -> int:
    """Fewest words that must go and come, by the textbook table."""
    row = list(range(len(new) + 1))
    for at, word in enumerate(old, 1):
        above, row = row, [at]
        for to, other in enumerate(new, 1):
            row.append(above[to - 1] if word == other else 1 + min(above[to], row[to - 1]))
    return row[-1]


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_no_more_words_change_than_must(old, new):
    steps = shortest_edit(old, new, 600)
    assert [word for kept, word in steps if kept is not Kept.ADDED] == old
    assert [word for kept, word in steps if kept is not Kept.REMOVED] == new
    assert sum(kept is not Kept.SAME for kept, _ in steps) == reference(old, new)


def test_small_words_that_stayed_by_chance_do_not_tear_a_sentence_apart():
    pieces = diff_words("The parcel left on Monday and is with the carrier.", "The lamp is covered by the guarantee.")
    assert [(piece.kept, piece.text) for piece in pieces] == [
        (Kept.SAME, "The "),
        (Kept.REMOVED, "parcel left on Monday and is with the carrier"),
        (Kept.ADDED, "lamp is covered by the guarantee"),
        (Kept.SAME, "."),
    ]
    small = diff_words("order 1 costs 5 euros", "order 2 costs 7 euros")
    assert [piece.text for piece in small] == ["order ", "1", "2", " costs ", "5", "7", " euros"]


def test_a_changed_phrase_is_one_piece_and_not_a_mosaic():
    pieces = diff_words("I will refund your order today.", "I have closed your order today.")
    assert [(piece.kept, piece.text) for piece in pieces] == [
        (Kept.SAME, "I "),
        (Kept.REMOVED, "will refund"),
        (Kept.ADDED, "have closed"),
        (Kept.SAME, " your order today."),
    ]


def test_texts_with_nothing_in_common_count_as_replaced_whole_and_soon():
    old, new = " ".join(f"a{n}" for n in range(5000)), " ".join(f"b{n}," for n in range(5000))
    kept = [piece.kept for piece in diff_words(old, new)]
    assert kept.count(Kept.REMOVED) == 1
    assert kept.count(Kept.ADDED) == 1


def test_a_script_without_spaces_is_compared_sign_by_sign():
    pieces = diff_words("返金を確認します", "返金を実行します")
    assert [piece.text for piece in pieces] == ["返金を", "確認", "実行", "します"]
