#!/usr/bin/env python3
"""The prompt side of a vLLM pod: renders chats by Jinja as transformers does, after treating them as vLLM does.

    pod.py NAME=FILE...

Serves each template at /NAME: POST /NAME/tokenize takes `messages` or `prompt` and answers one token per byte of the
prompt, which the tests' token table undoes. Prints its port. A start token <bos> stands before raw prompts.
"""

import datetime
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jinja2
import jinja2.ext
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

BOS = "<bos>"
EOS = "<eos>"
BILLING = "x-anthropic-billing-header"
NOW = [datetime.datetime.now]


class Generation(jinja2.ext.Extension):
    """{% generation %} marks what the model said; it prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def compile_template(source):
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: NOW[0]().strftime(form)
    syntax = environment.parse(source)
    return environment.from_string(source), jinja2.meta.find_undeclared_variables(syntax), content_format(syntax)


def content_format(syntax):
    """ "openai" when the template loops over a message's content, as vLLM finds out from its syntax tree."""
    nodes = jinja2.nodes

    def is_content(node, names):
        if isinstance(node, nodes.Filter):
            return is_content(node.node, names)
        if isinstance(node, nodes.Test):
            return is_content(node.node, names)
        if isinstance(node, nodes.Name):
            return node.name in names
        if isinstance(node, nodes.Getitem):
            return isinstance(node.arg, nodes.Const) and node.arg.value == "content"
        return isinstance(node, nodes.Getattr) and node.attr == "content"

    names = {
        assign.target.name
        for assign in syntax.find_all(nodes.Assign)
        if isinstance(assign.target, nodes.Name) and is_content(assign.node, set())
    }
    loops = any(is_content(loop.iter, names) for loop in syntax.find_all(nodes.For))
    return "openai" if loops else "string"


def parts_of(message):
    content = message.get("content")
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    for part in content:
        if part["type"] not in ("text", "input_text", "output_text"):
            refuse("only text is served")
    return [part["text"] for part in content]


def without_billing(texts):
    kept = []
    for text in texts:
        if text.startswith(BILLING):
            text = text.partition("\n")[2]
            if not text:
                continue
        kept.append(text)
    return kept


def conversation(messages, form):
    out = []
    for message in messages:
        role, texts = message["role"], parts_of(message)
        if role == "system":
            texts = without_billing(texts)
        if form == "openai":
            content = [{"type": "text", "text": text} for text in texts]
        else:
            content = "\n".join(text for text in texts if text)
        made = {"role": role, "content": content}
        if role == "assistant":
            if message.get("tool_calls"):
                made["tool_calls"] = [call(c) for c in message["tool_calls"]]
            reasoning = message.get("reasoning", message.get("reasoning_content"))
            if reasoning is not None:
                made["reasoning"] = made["reasoning_content"] = reasoning
        elif role == "tool":
            if "tool_call_id" in message:
                made["tool_call_id"] = message["tool_call_id"]
            if isinstance(content, list):
                made["content"] = "\n".join(part["text"] for part in content)
        if isinstance(message.get("name"), str):
            made["name"] = message["name"]
        out.append(made)
    return out


def call(given):
    function = given["function"]
    try:
        arguments = json.loads(function.get("arguments") or "{}")
    except json.JSONDecodeError:
        arguments = {}
    if not isinstance(arguments, dict):
        arguments = {}
    return {
        "id": given["id"],
        "function": {"arguments": arguments, "name": function["name"]},
        "type": given["type"],
    }


def tool(given):
    function = given["function"]
    made = {name: function.get(name) for name in ("name", "description", "parameters")}
    if function.get("strict") is not None:
        made["strict"] = function["strict"]
    return {"type": "function", "function": made}


def render(template, body):
    compiled, variables, form = template
    messages = conversation(body["messages"], form)
    tools = None if body.get("tools") is None else [tool(t) for t in body["tools"]]
    continued = body.get("continue_final_message", False)
    generation = body.get("add_generation_prompt", True)
    mark = "CONTINUE_FINAL_MESSAGE_TAG "
    if continued:
        if generation and "add_generation_prompt" in body:
            refuse("both a generation prompt and a message to continue")
        generation = False
        if isinstance(messages[-1]["content"], list):
            messages[-1]["content"][-1]["text"] += mark
        else:
            messages[-1]["content"] += mark
    kwargs = {k: v for k, v in (body.get("chat_template_kwargs") or {}).items() if k in variables}
    text = compiled.render(
        messages=messages,
        tools=tools,
        documents=None,
        add_generation_prompt=generation,
        bos_token=BOS,
        eos_token=EOS,
        **kwargs,
    )
    if not continued:
        return text
    at = text.rindex(mark.strip())
    return text[:at] if text[at : at + len(mark)] == mark else text[:at].rstrip()


class Pod(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write an answer: small ones in a row wait for the other side's acknowledgement.
    wbufsize = 65536
    templates = {}

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        _, name, path = self.path.split("/", 2)
        try:
            request = json.loads(body)
            if path == "clock":
                fixed = datetime.datetime.fromisoformat(request["now"])
                NOW[0] = lambda: fixed
                self.answer(200, {})
                return
            if "messages" in request:
                prompt = render(self.templates[name], request)
            else:
                prompt = BOS + request["prompt"]
            tokens = list(prompt.encode())
        except Exception as error:  # noqa: BLE001: whatever a template raises is the client's fault
            self.answer(400, {"error": {"message": f"{type(error).__name__}: {error}"}})
            return
        self.answer(200, {"count": len(tokens), "tokens": tokens})

    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def main():
    for argument in sys.argv[1:]:
        name, _, file = argument.partition("=")
        with open(file, encoding="utf-8") as source:
            text = source.read()
        if file.endswith(".json"):
            text = json.loads(text)["chat_template"]
        Pod.templates[name] = compile_template(text)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pod)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
