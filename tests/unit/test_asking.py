"""What may be asked, without an executor."""

from __future__ import annotations

from typing import Any

import pytest

from services.executor.reports.asking import question_of


@pytest.mark.parametrize("schema", [{"type": "string"}, "Verdict", 3])
def test_a_schema_that_is_no_type_is_refused_and_told_what_is(schema: Any) -> None:
    with pytest.raises(ValueError, match=r"is a type, such as bool, .* not "):
        question_of("Publish?", schema, None, "")


def test_a_type_becomes_the_schema_of_the_question() -> None:
    assert question_of("Publish?", bool, None, "").schema == {"type": "boolean"}
    assert question_of("Publish?", None, None, "").schema == {}
