import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { after, test } from 'node:test'
import type { HookEvent } from '#agents/hook-event.ts'
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
