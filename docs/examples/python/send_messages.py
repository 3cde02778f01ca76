"""Sends a message to some customers and waits until every touch has ended.

  python3 send_messages.py 127.0.0.1:7600 CORP MEMBER CUSTOMER...

The modules come from the protos alone; see README.md.
"""
import sys
import uuid

import grpc
from tidegate.dispatch.v1 import dispatch_service_pb2 as pb
from tidegate.dispatch.v1 import dispatch_service_pb2_grpc as services

address, corp, member, *customers = sys.argv[1:]
stub = services.DispatchServiceStub(grpc.insecure_channel(address))
run = uuid.uuid4().hex[:12]  # keep it, to send again after a crash: the same keys send nothing twice
content = pb.MessageContent(template=True, content=pb.ContentVariant(
    text="Hello {{name}}", link_url="https://shop.example/spring", link_title="Spring"))
batch = pb.SendMessagesRequest(corp=corp, batch=1, contents=[content], messages=[
    pb.Message(key=f"{run}:{customer}", customer=customer, sender=member, fields={"name": customer},
               message_class=pb.MESSAGE_CLASS_INTERACTIVE) for customer in customers])
for answer in stub.SendMessages(iter([batch])):
    for fault in answer.faults:
        sys.exit(f"{fault.field}: {fault.message}")
    print(f"{answer.acknowledged} acknowledged")
open_keys = {message.key for message in batch.messages}
watch = stub.WatchTouches(pb.WatchTouchesRequest(corp=corp, key_prefix=run + ":"))
for told in watch:
    for change in told.changes:
        print(change.key.split(":")[1], pb.TouchState.Name(change.state), change.reason)
        if change.state >= pb.TOUCH_STATE_SENT:
            open_keys.discard(change.key)
    if not open_keys:
        break
