// A message center on node-smpp, which shares no code with ours: password binds, routing by
// prefix between two accounts, delivery receipts, throttling, TLS.
//
// node node_center.js [port]        prints "port N" once it listens; no port: an ephemeral one
// RATE=50                           submissions of one session in a second, then ESME_RTHROTTLED
// THROTTLE=2 LOSE=1 DOUBLE=1        how many are throttled, then lost, then delivered twice, at first
// TELL=1                            tells what becomes of each message, one JSON object a line
// PASSWORD=secret                   of both accounts
// TLS_KEY=key.pem TLS_CERT=cert.pem speaks TLS

'use strict';
const fs = require('fs');
const smpp = require('smpp');

const password = process.env.PASSWORD || 'secret';
const ACCOUNTS = {
  public: { password, prefix: '70707' },
  private: { password, prefix: '1555' },
};
const RATE = Number(process.env.RATE || 0);
const TELL = process.env.TELL === '1';
const faults = { THROTTLE: 0, LOSE: 0, DOUBLE: 0 };
for (const name of Object.keys(faults)) faults[name] = Number(process.env[name] || 0);
const DELIVERED = 2;
const UNDELIVERABLE = 5;

// Octets pass as they are: the filters would re-encode binary content by its data coding.
for (const command of ['submit_sm', 'deliver_sm', 'data_sm']) {
  const { short_message } = smpp.commands[command].params;
  if (short_message) delete short_message.filter;
}
delete smpp.tlvs.message_payload.filter;

const receivers = { public: [], private: [] };
const stored = { public: [], private: [] };
let messages = 0;

function tell(message) {
  if (TELL) console.log(JSON.stringify({ message }));
}

function happens(fault) {
  if (faults[fault] === 0) return false;
  faults[fault] -= 1;
  return true;
}

function accountOf(digits) {
  return Object.keys(ACCOUNTS).find((name) => digits.startsWith(ACCOUNTS[name].prefix));
}

function deliver(name, message, answered) {
  const ready = receivers[name];
  if (ready.length === 0) return stored[name].push([message, answered]);
  return ready[messages % ready.length].deliver_sm(message, answered);
}

function receipt(id, submitted, ok) {
  const words = `id:${id} sub:001 dlvrd:00${ok ? 1 : 0} submit date:2601010000 ` +
    `done date:2601010000 stat:${ok ? 'DELIVRD' : 'UNDELIV'} err:000 text:`;
  return {
    source_addr: submitted.destination_addr,
    destination_addr: submitted.source_addr,
    esm_class: 4,
    receipted_message_id: id,
    message_state: ok ? DELIVERED : UNDELIVERABLE,
    short_message: words,
  };
}

function submit(account, pdu, session) {
  const name = accountOf(pdu.destination_addr);
  if (!name) return session.send(pdu.response({ command_status: smpp.ESME_RINVDSTADR }));
  messages += 1;
  const id = messages.toString(16);
  session.send(pdu.response({ message_id: id }));
  tell('sms accepted');
  if (happens('LOSE')) return tell('sms lost');
  const { source_addr, source_addr_ton, source_addr_npi } = pdu;
  const { destination_addr, dest_addr_ton, dest_addr_npi } = pdu;
  const { protocol_id, data_coding, short_message } = pdu;
  const message = {
    source_addr, source_addr_ton, source_addr_npi,
    destination_addr, dest_addr_ton, dest_addr_npi,
    protocol_id, data_coding, short_message, esm_class: pdu.esm_class & 0xc0,
  };
  if (happens('DOUBLE')) deliver(name, message, () => tell('sms doubled'));
  return deliver(name, message, (response) => {
    tell('sms delivered');
    if ((pdu.registered_delivery & 1) === 0) return;
    deliver(account, receipt(id, pdu, response.command_status === 0));
  });
}

function serve(session) {
  let account = null;
  let tokens = RATE;
  let filled = Date.now();

  function throttled() {
    if (RATE === 0) return false;
    const now = Date.now();
    tokens = Math.min(RATE, tokens + ((now - filled) * RATE) / 1000);
    filled = now;
    if (tokens < 1) return true;
    tokens -= 1;
    return false;
  }

  for (const command of ['bind_transceiver', 'bind_receiver', 'bind_transmitter']) {
    session.on(command, (pdu) => {
      const known = ACCOUNTS[pdu.system_id];
      if (!known || known.password !== pdu.password) {
        tell('bind refused');
        session.send(pdu.response({ command_status: smpp.ESME_RINVPASWD }));
        return session.close();
      }
      account = pdu.system_id;
      session.send(pdu.response({ system_id: 'node-smpp' }));
      if (command === 'bind_transmitter') return undefined;
      receivers[account].push(session);
      return stored[account].splice(0).forEach((it) => deliver(account, ...it));
    });
  }
  session.on('submit_sm', (pdu) => {
    if (!account) return session.send(pdu.response({ command_status: smpp.ESME_RINVBNDSTS }));
    if (throttled() || happens('THROTTLE')) {
      tell('sms throttled');
      return session.send(pdu.response({ command_status: smpp.ESME_RTHROTTLED }));
    }
    return submit(account, pdu, session);
  });
  session.on('cancel_sm', (pdu) => {
    tell('sms recalled');
    session.send(pdu.response({ command_status: smpp.ESME_RCANCELFAIL }));
  });
  session.on('enquire_link', (pdu) => session.send(pdu.response()));
  session.on('unbind', (pdu) => {
    session.send(pdu.response());
    session.close();
  });
  session.on('error', () => {});
  session.on('close', () => {
    if (account) receivers[account] = receivers[account].filter((it) => it !== session);
  });
}

const options = process.env.TLS_KEY
  ? { key: fs.readFileSync(process.env.TLS_KEY), cert: fs.readFileSync(process.env.TLS_CERT) }
  : {};
const server = smpp.createServer(options, serve);
server.listen(Number(process.argv[2] || 0), '127.0.0.1', () => {
  console.log(`port ${server.address().port}`);
  tell('listening');
});
