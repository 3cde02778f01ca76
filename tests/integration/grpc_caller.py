"""Calls any method of any service; what there is to call is read from the proto files.

  api = Api()
  caller = Caller(api, "ca.pem", "shop.pem", "shop.key")
  answer = caller.call("127.0.0.1:7600", api.method("CountCustomers"), corp="ww1", expression="all")
  answer.code, answer.reason, answer.responses

Needs protoc and Debian's python3-protobuf and python3-grpcio.
"""

import glob
import os
import subprocess
import sys
import tempfile
import typing
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(ROOT, "tests", "judge"))

from kafka_journals import Unavailable, debian_module  # noqa: E402

# Handshakes that fail on purpose need no words.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
grpc = debian_module("grpc", "python3-grpcio")
descriptor_pb2 = debian_module("google.protobuf.descriptor_pb2", "python3-protobuf")
descriptor_pool = debian_module("google.protobuf.descriptor_pool", "python3-protobuf")
message_factory = debian_module("google.protobuf.message_factory", "python3-protobuf")
json_format = debian_module("google.protobuf.json_format", "python3-protobuf")

__all__ = ["Api", "Caller", "Unavailable"]

SECONDS = 20
DETAILS = "grpc-status-details-bin"
# What a request needs to be a good one, by the name of the field.
GOOD = {
    "audience_expression": "orders.count >= 1000000", "expression": "all", "condition": "all",
    "campaign_id": "probe", "audience_id": "probe-audience", "rule_id": "probe",
    "channel_id": "probe", "state": "probe", "source": "probe", "event_id": "probe",
    "customer": "wmprobe", "owner": "m0", "reason": "probe", "tags": ["probe"],
    "text": "hello", "link_url": "https://example.com/a", "link_title": "look",
    "key": "probe", "sender": "m0", "fields": {}, "deadline": "2099-01-02T03:04:05Z",
    "until": "2099-01-02T03:04:05Z", "actor": "probe", "api": "add_msg_template", "calls": 1,
    "grant": "probe", "lease_seconds": 60, "used": 1, "limits": {"weight": 1},
    "call_id": "probe", "attempt": 1, "resolution": "DOUBT_RESOLUTION_ABANDONED",
    "event_time": "2026-01-02T03:04:05Z", "order_id": "probe", "amount_fen": 100,
}


class Method(typing.NamedTuple):
    service: str  # as "dispatch"
    name: str
    path: str
    request: type
    response: type
    streams: bool


class Answer(typing.NamedTuple):
    code: str
    message: str
    details: bytes  # google.rpc.Status
    reason: str  # of ErrorInfo
    retry: bool  # RetryInfo is there
    responses: list

    @property
    def status(self):
        return self.code, self.message, self.details

    @property
    def response(self):
        assert self.code == "OK", self
        return self.responses[0]


class Api:
    """All services of proto/."""

    def __init__(self):
        files = descriptor_pb2.FileDescriptorSet.FromString(_compiled())
        self._pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self._pool.Add(file)
        self._factory = message_factory.MessageFactory(self._pool)
        self.methods = [self._method(file, service, method)
                        for file in files.file for service in file.service
                        for method in service.method]
        self.status = self.message("google.rpc.Status")
        self.error_info = self.message("google.rpc.ErrorInfo")

    def method(self, name):
        [found] = [method for method in self.methods if method.name == name]
        return found

    def message(self, name):
        return self._factory.GetPrototype(self._pool.FindMessageTypeByName(name))

    def request(self, method, fields):
        return json_format.ParseDict(fields, method.request())

    def good_request(self, method, corp):
        """One whose fields are all set to something that is allowed."""
        return self.request(method, {**_filled(method.request.DESCRIPTOR), "corp": corp})

    def _method(self, file, service, method):
        # A caller that streams sends one message here.
        return Method(file.package.split(".")[1], method.name,
                      f"/{file.package}.{service.name}/{method.name}",
                      self.message(method.input_type.lstrip(".")),
                      self.message(method.output_type.lstrip(".")), method.server_streaming)


def _compiled():
    protos = glob.glob(os.path.join(ROOT, "proto/tidegate/*/v1/*_service.proto"))
    include = [os.path.join(ROOT, "proto"), os.path.join(ROOT, "third_party")]
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "descriptors")
        subprocess.run(["protoc", *(f"-I{folder}" for folder in include), "--include_imports",
                        "--descriptor_set_out=" + out, *sorted(protos),
                        os.path.join(include[1], "google/rpc/error_details.proto"),
                        os.path.join(include[1], "google/rpc/status.proto")], check=True)
        with open(out, "rb") as file:
            return file.read()


def _filled(descriptor):
    fields = {}
    for field in descriptor.fields:
        if field.containing_oneof and field != field.containing_oneof.fields[0]:
            continue
        if field.name == "request_id":
            fields[field.name] = str(uuid.uuid4())
        elif field.enum_type and field.name != "resolution":
            continue
        elif field.name in GOOD:
            fields[field.name] = GOOD[field.name]
        elif field.message_type:
            inner = _filled(field.message_type)
            fields[field.name] = [inner] if field.label == field.LABEL_REPEATED else inner
    return fields


class Caller:
    """Whoever has a certificate, or none; without `ca` in plaintext."""

    def __init__(self, api, ca=None, cert=None, key=None):
        self._api = api
        self._credentials = ca and grpc.ssl_channel_credentials(*map(_content, (ca, key, cert)))
        self._channels = {}

    def call(self, address, method, request=None, *, metadata=(), seconds=SECONDS, first=False,
             **fields):
        """Fields as in proto JSON, or a whole request. `first`: of a stream only what comes first,
        then the call is cancelled."""
        stub = self._channel(address).unary_stream(
            method.path, method.request.SerializeToString, method.response.FromString)
        call = stub(request or self._api.request(method, fields), timeout=seconds,
                    metadata=metadata)
        responses = []
        try:
            for response in call:
                responses.append(response)
                if first:
                    call.cancel()
                    return Answer("OK", "", b"", "", False, responses)
        except grpc.RpcError:
            pass
        return self._answer(call, responses)

    def ask(self, address, name, **fields):
        """The one response of a call that must go well."""
        return self.call(address, self._api.method(name), **fields).response

    def close(self):
        for channel in self._channels.values():
            channel.close()

    def _channel(self, address):
        if address not in self._channels:
            options = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.enable_retries", 0),
                       ("grpc.min_reconnect_backoff_ms", 200), ("grpc.enable_http_proxy", 0),
                       ("grpc.max_reconnect_backoff_ms", 200))
            self._channels[address] = (
                grpc.secure_channel(address, self._credentials, options) if self._credentials
                else grpc.insecure_channel(address, options))
        return self._channels[address]

    def _answer(self, call, responses):
        trailers = dict(call.trailing_metadata() or ())
        details = trailers.get(DETAILS, b"")
        reason, retry = "", False
        for detail in self._api.status.FromString(details).details:
            if detail.type_url.endswith("google.rpc.ErrorInfo"):
                reason = self._api.error_info.FromString(detail.value).reason
            retry = retry or detail.type_url.endswith("google.rpc.RetryInfo")
        return Answer(call.code().name, call.details(), details, reason, retry, responses)


def _content(path):
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()
