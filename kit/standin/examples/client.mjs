// A test client for the stand-in, in Node. Run: node client.mjs ws://127.0.0.1:8765/v1/realtime
// Node 22 has WebSocket; before, `npm install ws`, or start node with --experimental-websocket.
// With `kit serve --tls` set NODE_EXTRA_CA_CERTS to the file that it prints.
const WebSocket = globalThis.WebSocket ?? (await import("ws")).default;
const url = new URL(process.argv[2]);
url.searchParams.set("model", "gpt-realtime");
url.searchParams.set("trial", "node-1"); // this test's own draws
const socket = new WebSocket(url, ["realtime"]);
const send = (event) => socket.send(JSON.stringify(event));
const text = (role, words) => ({
  type: "message",
  role,
  content: [{ type: role === "assistant" ? "output_text" : "input_text", text: words }],
});

socket.onopen = () => {
  send({ type: "conversation.item.create", item: text("user", "Tell me a joke.") });
  send({ type: "conversation.item.create", item: text("assistant", "Later.") });
  send({ type: "conversation.item.create", item: text("user", "Good morning!") });
  send({ type: "response.create" });
};
socket.onmessage = ({ data }) => {
  const event = JSON.parse(data);
  if (event.type === "error") throw new Error(event.error.message);
  if (event.type !== "response.done") return;
  const part = event.response.output[0].content[0];
  console.log(part.type, part.transcript ?? part.text);
  socket.close();
};
socket.onerror = (event) => {
  console.error(event.message ?? event.error);
  process.exitCode = 1;
};
