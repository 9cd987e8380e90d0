"""A client of TestHub, and EventHub, that makes calls, and prints what comes of them, and what else comes, as lines of JSON.

    client.py URL TRANSPORT QUERY CALLS

QUERY is an object, CALLS a list of lists of a method and its arguments. It ends when the server calls got("the end").
"""

import json
import sys

from signalr import Connection  # before what else uses sockets: it replaces them
from signalr.transports._ws_transport import WebSocketsTransport
import gevent.event
import requests

url, transport, query, calls = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
over = gevent.event.Event()


def tell(what, value):
    print(json.dumps([what, value]), flush=True)


def got(text):
    tell("got", text)
    if text == "the end":
        over.set()


def received(**message):
    if "I" in message:
        tell("answer", message)


if transport == "serverSentEvents":
    WebSocketsTransport.accept = lambda *_: False

with requests.Session() as session:
    connection = Connection(url, session)
    connection.qs = query
    connection.received += received
    connection.error += lambda text: tell("error", text)
    hub = connection.register_hub("TestHub")
    connection.register_hub("EventHub")
    hub.client.on("got", got)
    hub.client.on("gotPerson", lambda *arguments: tell("gotPerson", arguments))
    with connection:
        for call in calls:
            hub.server.invoke(*call)
        over.wait()
