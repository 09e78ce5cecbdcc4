"""Instructor: structured answers by JSON schema, and by tools."""

import instructor
import openai
import pydantic
from steps import MODEL, SAY_JSON, V1, expect, step


class Weather(pydantic.BaseModel):
    city: str
    warm: bool


class City(pydantic.BaseModel):
    city: str


def ask(mode, form, text):
    client = instructor.from_openai(openai.OpenAI(base_url=V1, api_key="none"), mode=mode)
    told = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": text}], response_model=form, max_retries=0
    )
    expect(told.city == "Paris", told)


step("JSON_SCHEMA", lambda: ask(instructor.Mode.JSON_SCHEMA, Weather, SAY_JSON))
step("TOOLS", lambda: ask(instructor.Mode.TOOLS, City, "Hi"))
