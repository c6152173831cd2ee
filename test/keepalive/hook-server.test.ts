import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { after, test } from 'node:test'
import type { HookEvent } from '#agents/hook-event.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import { systemClock } from '#runtime/clock.ts'
import { serveHooks } from '../../services/keepalive/hook-server.ts'
import { recorded } from '../core/agents/reports.ts'

const SECRET = 'a'.repeat(64)
const heard: HookEvent[] = []
const port = await freePort()
const server = await serveHooks({ port, secret: SECRET }, async (event) => {
  heard.push(event)
  return event.kind === 'turn_ended' ? '{"decision":"block"}' : ''
})
after(() => server[Symbol.asyncDispose]())
const STOP = recorded('claude').find((line) => line.includes('"Stop"')) ?? ''

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}

/** Sends a request as it stands, and answers its status and body. */
async function ask(
  body: string,
  headers: Readonly<Record<string, string>> = {},
  line = 'POST /hook/claude',
): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  const all = {
    host: `127.0.0.1:${port}`,
    authorization: `Bearer ${SECRET}`,
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
    ...headers,
  }
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`${line} HTTP/1.1\r\n${head.join('')}\r\n${body}`)
  socket.on('error', () => undefined)
  let text = ''
  for await (const chunk of socket as AsyncIterable<Buffer>) text += chunk.toString()
  return `${text.slice(9, 12)} ${text.split('\r\n\r\n')[1] ?? ''}`
}

test('an event is heard, and answered with what its client is told', async () => {
  assert.match(await ask(STOP), /^200 .*\{"decision":"block"\}/s)
  assert.match(await ask(recorded('claude')[0] ?? ''), /^200 .*\{\}/s)
  assert.deepEqual(
    heard.map(({ kind }) => kind),
    ['turn_ended', 'start'],
  )
})

test('whoever does not know the secret, or comes by a browser, is heard by nobody', async () => {
  heard.length = 0
  for (const [headers, status] of [
    [{ authorization: '' }, 401],
    [{ authorization: `Bearer ${'b'.repeat(64)}` }, 401],
    [{ authorization: SECRET }, 401],
    [{ host: 'evil.example' }, 403],
    [{ host: `evil.example:${port}` }, 403],
    [{ origin: `http://127.0.0.1:${port}` }, 403],
    [{ origin: 'null' }, 403],
  ] as const)
    assert.equal((await ask(STOP, headers)).slice(0, 3), String(status), JSON.stringify(headers))
  assert.match(await ask('', {}, 'GET /hook/claude'), /^405/)
  assert.match(await ask(STOP, {}, 'POST /hook/nobody'), /^404/)
  assert.match(await ask(STOP, {}, 'POST /hook/claude/..'), /^404/)
  assert.deepEqual(heard, [])
})

test('garbage is no event, and a huge body costs only its end', async () => {
  heard.length = 0
  assert.match(await ask('garbage'), /^400/)
  assert.match(await ask('[]'), /^400/)
  const huge = JSON.stringify({
    session_id: 'one',
    hook_event_name: 'PostToolUse',
    tool_name: 'Bash',
    tool_response: 'x'.repeat(8_000_000),
  })
  assert.match(await ask(huge), /^200/)
  assert.equal(heard[0]?.kind, 'tool_ended')
})

/** A connection of anybody, by itself. */
async function connected(): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

/** A request of somebody who knows the secret, and keeps the connection. */
const KEPT = `POST /hook/claude HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nauthorization: Bearer ${SECRET}\r\n`

test('connections that say nothing, however many, keep no hook from its answer, nor take the connection of one', async () => {
  const known = await connected()
  const answered = async (): Promise<string> => {
    known.write(`${KEPT}content-length: ${Buffer.byteLength(STOP)}\r\n\r\n${STOP}`)
    return String((await once(known, 'data'))[0])
  }
  assert.match(await answered(), /^HTTP\/1.1 200 /)
  const silent: Socket[] = []
  for (let count = 0; count < 1_300; count += 1) {
    silent.push((await connected()).resume())
    if (count === 300) assert.match(await within(1_000, ask(STOP)), /^200 /)
  }
  assert.match(await within(1_000, ask(STOP)), /^200 /)
  assert.match(await within(1_000, answered()), /^HTTP\/1.1 200 /)
  assert.equal(silent[0]?.closed, true, 'the oldest went')
  assert.equal(silent.at(-1)?.closed, false, 'the newest did not')
  await Promise.all(silent.filter(({ closed }) => !closed).map((socket) => once(socket, 'close')))
  known.destroy()
})

test('a request that comes in drops, and one that nobody may make, hold no connection for long', async () => {
  const slow = await connected()
  const drops = setInterval(() => slow.write('x'), 200)
  slow.write('POST /hook/claude HTTP/1.1\r\nx: ')
  slow.resume()
  await within(10_000, once(slow, 'close'))
  clearInterval(drops)
  const stranger = await connected()
  stranger.write(`${KEPT.replace(SECRET, 'b')}content-length: 1000\r\n\r\n`)
  stranger.resume()
  await within(1_000, once(stranger, 'close'))
})

async function within<T>(ms: number, going: Promise<T>): Promise<T> {
  const answer = await waitAtMost(going, ms, systemClock)
  assert.notEqual(answer, LATE, `nothing came within ${ms} ms`)
  return answer as T
}
