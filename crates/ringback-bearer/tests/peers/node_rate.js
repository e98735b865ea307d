// How fast node-smpp's own client submits: node node_rate.js PORT COUNT prints submissions a second.
// Ten are in flight at a time.

'use strict';
const smpp = require('smpp');

const WINDOW = 10;
const [port, count] = process.argv.slice(2).map(Number);
const session = smpp.connect({ url: `smpp://127.0.0.1:${port}` });
let sent = 0;
let answered = 0;
let start;

function submit() {
  if (sent === count) return;
  sent += 1;
  const message = {
    source_addr: '70707', destination_addr: '15550100777',
    data_coding: 4, short_message: Buffer.alloc(110, 7),
  };
  session.submit_sm(message, (response) => {
    if (response.command_status !== 0) throw new Error(`refused: ${response.command_status}`);
    answered += 1;
    if (answered < count) return submit();
    console.log(Math.round((count * 1e9) / Number(process.hrtime.bigint() - start)));
    return session.close();
  });
}

session.on('connect', () => {
  session.bind_transmitter({ system_id: 'public', password: 'secret' }, () => {
    start = process.hrtime.bigint();
    for (let it = 0; it < WINDOW; it += 1) submit();
  });
});
