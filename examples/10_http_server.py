"""Lesson 10: an HTTP server, an existing asyncio library over Scout's own TCP, and curl as its client.

    pip install aiohttp
    python examples/10_http_server.py

It needs no root where the kernel allows user namespaces. The first run compiles for some minutes; from then on it takes
a few seconds.

The server is written with aiohttp, which knows nothing of Scout. The one import that is changed is that of asyncio:
`scout.aio` has all its names, and an event loop whose connections are those of the router. With a certificate the same
server speaks HTTPS: TLS 1.3 by Python's `ssl`.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    from scout.io.host.sandbox import enter

    enter()  # before numpy is imported

from scout import AfPacketPort, ApplicationPort, Applications, Arp, Ethernet, Icmp, Ip, RouterGraph, Tcp
from scout import aio as asyncio

SERVER, CLIENT, BYTES, AT_ONCE = "10.0.0.1", "10.0.0.2", 5_000_000, 200

apps = ApplicationPort(f"lesson-{os.getpid()}", sockets=1024)  # of this run: another one may go on at the same time
graph = RouterGraph("http")
graph.add(Ethernet("eth0", AfPacketPort("r0")))
graph.add(Ip("ip", {"eth0": f"{SERVER}/24"}))
graph.add(Arp("arp"))
graph.add(Icmp("icmp"))
graph.add(Tcp("tcp"))
graph.add(Applications("apps", apps))
graph.connect("icmp", "ip", "eth0")
graph.connect("ip", "arp", "eth0")
graph.connect("apps", "tcp", "ip")
graph.connect("tcp", "icmp")
paths = [graph.create_path("eth0", order="channel"), graph.create_path("apps")]


async def serve(folder):
    """Serve a greeting, many bytes, and the bytes of a request back; the application."""
    import ssl

    from aiohttp import web

    async def greet(request):
        return web.Response(text=f"hello, {request.match_info['name']}\n")

    async def many(request):
        return web.Response(body=bytes(BYTES))

    async def back(request):
        return web.Response(body=await request.read())

    app = web.Application(client_max_size=2 * BYTES)
    app.add_routes([web.get("/hello/{name}", greet), web.get("/many", many), web.post("/back", back)])
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(folder, "cert.pem"), Path(folder, "key.pem"))
    await web.TCPSite(runner, SERVER, 80).start()
    await web.TCPSite(runner, SERVER, 443, ssl_context=context).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


def make_certificate(folder):
    """Make a certificate for the server's address, and its key."""
    curve = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=scout"
    files = "-keyout", "key.pem", "-out", "cert.pem", "-addext", f"subjectAltName=IP:{SERVER}"
    subprocess.run(["openssl", *curve.split(), *files], cwd=folder, check=True, capture_output=True)


def run():
    """Run the stack between curl's namespace and the server's process."""
    from scout import Lab, Supervisor

    with Lab("lesson") as lab, tempfile.TemporaryDirectory() as folder:
        make_certificate(folder)
        host, router = lab.namespace("host"), lab.namespace("router")
        lab.veth((host, "eth0"), (router, "r0"))
        host.address("eth0", f"{CLIENT}/24")
        supervisor = Supervisor(graph, paths, replicas=2)
        with router.entered():
            supervisor.__enter__()
        server = subprocess.Popen([sys.executable, __file__, "serve", apps.name, folder], stdout=subprocess.PIPE)

        def curl(*arguments, data=None):
            with host.entered():
                return subprocess.run(["curl", "-sS", *arguments], input=data, capture_output=True, check=True).stdout

        try:
            server.stdout.readline()
            print(curl(f"http://{SERVER}/hello/world").decode(), end="")
            print(f"taken: {len(curl(f'http://{SERVER}/many'))} bytes")
            data = bytes(range(256)) * (BYTES // 256)
            print(f"given and got back: {curl(f'http://{SERVER}/back', '--data-binary', '@-', data=data) == data}")
            several = f"http://{SERVER}/hello/[1-{AT_ONCE}]"
            answers = curl("-Z", "--parallel-immediate", "--parallel-max", str(AT_ONCE), several).split()
            print(f"answered at once: {answers.count(b'hello,')} of {AT_ONCE}")
            with_tls = curl("--cacert", f"{folder}/cert.pem", "--tlsv1.3", f"https://{SERVER}/hello/secret")
            print(with_tls.decode(), end="")
        finally:
            server.kill()
            server.wait()
            supervisor.stop()


def main(router, folder):
    """The application, which attaches to the router first."""
    from scout import sockets

    sockets.attach(router)
    asyncio.run(serve(folder))


if __name__ == "__main__":
    main(*sys.argv[2:]) if sys.argv[1:2] == ["serve"] else run()
