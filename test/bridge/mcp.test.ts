/** The bridge's `/mcp`: who may ask, what is answered, and that a session does what it may and nothing else. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { publishCredential } from '#spool/credentials.ts'
import { run } from '../cli/run-command.ts'
import { Ground, type Seat } from './ground.ts'

let ground: Ground
let seat: Seat
let boss: Seat
before(async () => {
  ground = await Ground.open()
  const channel = await ground.channel()
  seat = channel.b
  boss = channel.a
})
after(async () => await ground?.[Symbol.asyncDispose]())

interface Reply {
  readonly status: number
  readonly headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into
  readonly json: any
}

async function post(message: unknown, who: Seat | null = seat, headers: Record<string, string> = {}): Promise<Reply> {
  const answer = await fetch(`${ground.bridge.url}/mcp`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(who === null ? {} : { authorization: `Bearer ${who.session}.${who.token}` }),
      ...headers,
    },
    body: typeof message === 'string' ? message : JSON.stringify(message),
  })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, json: text === '' ? null : JSON.parse(text) }
}

function request(method: string, params: object = {}, id: number | undefined = 1): object {
  return { jsonrpc: '2.0', id, method, params }
}

async function call(
  name: string,
  input: object = {},
  who: Seat = seat,
  headers: Record<string, string> = { 's2-reader': 'only-one' },
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into
): Promise<any> {
  const { json } = await post(request('tools/call', { name, arguments: input }), who, headers)
  return { isError: json.result.isError, ...JSON.parse(json.result.content[0].text) }
}

test('without the token of a session nobody gets in, and is told how', async () => {
  const wrong = { ...seat, token: 'f'.repeat(64) }
  for (const who of [null, wrong, { ...seat, session: boss.session }, { ...boss, token: seat.token }]) {
    const { status, headers, json } = await post(request('ping'), who)
    assert.deepEqual([status, headers.get('www-authenticate')], [401, 'Bearer realm="s2"'])
    assert.match(json.next, /s2 mcp --headers/)
  }
})

test('handshake, list and ping are answered as JSON, notifications by 202, GET and DELETE by 405', async () => {
  const began = await post(request('initialize', { protocolVersion: '2025-06-18' }))
  assert.deepEqual([began.status, began.json.result.protocolVersion], [200, '2025-06-18'])
  assert.match(began.headers.get('mcp-session-id') ?? '', /^[0-9a-f]{32}$/)
  const list = await post(request('tools/list'), seat, { 'mcp-protocol-version': '2025-06-18' })
  assert.ok(list.json.result.tools.length >= 15)
  const noted = await post({ jsonrpc: '2.0', method: 'notifications/initialized' })
  assert.deepEqual([noted.status, noted.json], [202, null])
  for (const method of ['GET', 'DELETE', 'PUT']) {
    const { status, headers } = await fetch(`${ground.bridge.url}/mcp`, { method })
    assert.deepEqual([status, headers.get('allow')], [405, 'POST'], method)
  }
  assert.equal((await post([request('ping'), request('ping', {}, 2)])).json.length, 2, 'no header is 2025-03-26')
})

test('the revision of the header and of the message must be one that is spoken', async () => {
  const _meta = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
  }
  const modern = { 'mcp-protocol-version': '2026-07-28' }
  const found = await post(request('server/discover', { _meta }), seat, modern)
  assert.equal(found.json.result.resultType, 'complete')
  const codeOf = ({ status, json }: Reply): unknown[] => [status, json.error.code]
  assert.deepEqual(codeOf(await post(request('ping'), seat, { 'mcp-protocol-version': '1999-01-01' })), [400, -32600])
  assert.deepEqual(codeOf(await post(request('ping'), seat, modern)), [400, -32602])
  const other = { 'mcp-protocol-version': '2025-11-25' }
  assert.deepEqual(codeOf(await post(request('ping', { _meta }), seat, other)), [400, -32020])
  assert.deepEqual(codeOf(await post(request('no/such', { _meta }), seat, modern)), [404, -32601])
  assert.deepEqual(codeOf(await post('{"half', seat)), [400, -32700])
})

test('a batch that is too long is refused for that, and not put off', async () => {
  const many = Array.from({ length: 8_000 }, (_, id) => ({ jsonrpc: '2.0', id, method: 'ping' }))
  const { json } = await post(many)
  assert.match(json.error?.message ?? JSON.stringify(json), /a batch has 1 to 100 messages/)
  assert.equal((await post([request('ping'), request('ping', {}, 2)])).json.length, 2)
})

test('Host, Origin, size and form are checked as for every request', async () => {
  assert.equal((await post(request('ping'), seat, { origin: 'https://evil.example' })).status, 403)
  assert.equal((await post('x'.repeat(600_000))).status, 413)
  assert.equal((await post(request('ping'), seat, { 'content-type': 'text/plain' })).status, 400)
})

test('a session takes, reports on and completes its task, and reads its mail once', async () => {
  const rest = { priority: 'P2', role: null, deadline: null, createdBy: boss.session } as const
  await ground.store.addTask({ id: 't-1', description: 'do it', holder: seat.session, ...rest })
  assert.equal((await call('take_task')).task.description, 'do it')
  await call('report_progress', { task_id: 't-1', percent: 10, checkpoint: 'begun' })
  assert.equal((await ground.store.task('t-1')).checkpoint, 'begun')
  assert.equal((await call('complete_task', { task_id: 't-1', result: 'done' })).state, 'carried')
  assert.equal((await ground.store.task('t-1')).state, 'completed')

  assert.ok((await call('check_messages')).messages.length >= 1, 'the assignment')
  await ground.store.send(boss.session, 'k', { text: 'hello' })
  assert.deepEqual(
    (await call('check_messages')).messages.map(({ message }: { message: string }) => message),
    ['hello'],
  )
  assert.deepEqual((await call('check_messages')).messages, [])
  assert.deepEqual(await ground.store.unacked(seat.session, 0, 10), [], 'the next check acked it')
  assert.equal((await call('send_to_partner', { message: 'hi' })).state, 'queued')
})

const IN_HAND_MS = 300_000

/** A client that shook hands of its own. */
async function newReader(who: Seat): Promise<Record<string, string>> {
  const { headers } = await post(request('initialize', { protocolVersion: '2025-06-18' }), who)
  return { 'mcp-session-id': headers.get('mcp-session-id') ?? '' }
}

async function textsFor(who: Seat, headers: Record<string, string>): Promise<[string, number?][]> {
  const { messages } = await call('check_messages', {}, who, headers)
  return messages.map(({ message, again }: { message: string; again?: number }) =>
    again === undefined ? [message] : [message, again],
  )
}

test('what a reader had in hand that died comes again, marked, and the check of the next one acks none of it', async () => {
  const { a, b } = await ground.channel()
  await ground.store.send(a.session, 'k', { text: 'read me' })
  const [died, next, named] = [await newReader(b), await newReader(b), { 's2-reader': 'claude:0d9f' }]
  assert.deepEqual(await textsFor(b, died), [['read me']])
  assert.deepEqual(await textsFor(b, next), [], 'it is in hand')
  assert.equal((await ground.store.unacked(b.session, 0, 10)).length, 1, 'and not acked')
  ground.clock.offsetMs += IN_HAND_MS
  assert.deepEqual(await textsFor(b, next), [['read me', 2]])
  assert.deepEqual(await textsFor(b, named), [])
  ground.clock.offsetMs += IN_HAND_MS
  assert.deepEqual(await textsFor(b, named), [['read me', 3]])
  assert.equal((await ground.store.unacked(b.session, 0, 10)).length, 1)
  assert.deepEqual(await textsFor(b, named), [])
  assert.deepEqual(await ground.store.unacked(b.session, 0, 10), [], 'its own next check acked it')
})

test('a task that one reader works on is given to no other, and is ended by none but that one', async () => {
  const { a, b } = await ground.channel()
  const rest = { description: 'x', priority: 'P2', role: null, deadline: null, createdBy: a.session } as const
  await ground.store.addTask({ id: 'one', holder: b.session, ...rest })
  const [first, second] = [await newReader(b), await newReader(b)]
  assert.equal((await call('take_task', {}, b, first)).task.task_id, 'one')
  assert.equal((await call('take_task', {}, b, first)).task.epoch, 1, 'again the same')
  assert.equal((await call('take_task', {}, b, second)).task, null)
  const codeOf = async (name: string, reader: Record<string, string>): Promise<string> =>
    (await call(name, { task_id: 'one', ...(name === 'fail_task' ? { reason: 'x' } : {}) }, b, reader)).error?.code
  for (const name of ['take_task', 'report_progress', 'complete_task', 'fail_task'])
    assert.equal(await codeOf(name, second), 'conflict', name)
  await ground.store.leaseTask(b.session, 'a later life')
  for (const name of ['report_progress', 'complete_task']) assert.equal(await codeOf(name, first), 'conflict', name)
  const { state, epoch } = await ground.store.task('one')
  assert.deepEqual([state, epoch], ['accepted', 2], 'the one who lost it ended nothing')
})

test('clients that do not say which they are get nothing that one of them would have in hand, and are told how', async () => {
  const { a, b } = await ground.channel()
  await ground.store.send(a.session, 'k', { text: 'one' })
  const rest = { description: 'x', priority: 'P2', role: null, deadline: null, createdBy: a.session } as const
  await ground.store.addTask({ id: 'nobodys', holder: b.session, ...rest })
  const _meta = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
  }
  for (const headers of [{}, { 's2-reader': 'x'.repeat(500) }, { 's2-reader': 'a b' }, { 's2-reader': '' }])
    for (const [name, input] of [
      ['check_messages', {}],
      ['take_task', {}],
      ['complete_task', { task_id: 'nobodys' }],
    ] as const) {
      const asked = request('tools/call', { name, arguments: input, _meta })
      const { json } = await post(asked, b, { 'mcp-protocol-version': '2026-07-28', ...headers })
      const { error } = JSON.parse(json.result.content[0].text)
      assert.deepEqual([json.result.isError, error.code], [true, 'invalid'], name)
      assert.match(error.next, /S2-Reader.*s2 mcp --headers/)
    }
  assert.equal(
    (await ground.store.unacked(b.session, 0, 10)).every(({ delivery }) => delivery === 'queued'),
    true,
  )
  assert.equal((await ground.store.task('nobodys')).state, 'assigned')
  assert.equal((await call('list_tasks', {}, b, {})).tasks.length, 1)
  assert.equal((await call('send_to_partner', { message: 'hi' }, b, {})).state, 'queued')
})

test('a bridge whose settings turn it off says so to everybody, and goes on otherwise', async () => {
  await using plain = await Ground.open({ S2_MCP: 'no' })
  const { b } = await plain.channel()
  for (const method of ['POST', 'GET']) {
    const { status, json } = await plain.ask({ method, path: '/mcp', body: method === 'POST' ? '{}' : '' })
    assert.deepEqual([status, json.code], [404, 'not_found'])
    assert.match(json.detail, /\/mcp is turned off/)
    assert.match(json.next, /S2_MCP=yes.*`s2 mcp`/)
  }
  assert.equal((await plain.send(b)).status, 200)
})

test('a session has its own rights and no others', async () => {
  const other = await ground.channel()
  const rest = { priority: 'P2', role: null, deadline: null, createdBy: other.a.session } as const
  await ground.store.addTask({ id: 'foreign', description: 'x', holder: other.b.session, ...rest })
  assert.equal((await call('complete_task', { task_id: 'foreign' })).error.code, 'not_found')
  assert.equal((await call('assign_task', { description: 'x' })).error.code, 'forbidden')
  assert.equal((await call('create_conversation', { my_role: 'a', partner_role: 'b' })).error.code, 'forbidden')
  const [conversation_id] = other.b.session.split('/')
  assert.equal((await call('check_messages', { conversation_id, session_id: 'b' })).error.code, 'forbidden')
  const given = await call('assign_task', { description: 'y', role: 'any', task_id: 't-2' }, boss)
  assert.deepEqual([given.task.task_id, given.task.state], ['t-2', 'pending'])
})

test('a bearer token that leaked counts no longer than the token does', async () => {
  const { b } = await ground.channel()
  assert.equal((await post(request('ping'), b)).status, 200)
  await ground.askAdmin('rotateToken', { session: b.session, overlapMs: 0 })
  assert.equal((await post(request('ping'), b)).status, 401)
})

test('`s2 mcp --headers` prints what gets a client in', async () => {
  const state = mkdtempSync(join(tmpdir(), 's2-headers-'))
  try {
    await publishCredential(state, {
      ...{ session: seat.session, agent: 's2-worker-1', role: 'tests', token: seat.token },
      ...{ bridgeUrl: ground.bridge.url, createdAt: Date.now(), expiresAt: Date.now() + 3_600_000 },
    })
    const { code, out, err } = await run(['mcp', '--headers'], { env: { S2_STATE: state } })
    assert.equal(code, 0, err)
    const { Authorization, 'S2-Reader': reader } = JSON.parse(out)
    assert.match(reader, /^[\w.:-]{1,150}$/, 'also for a client that nobody knows')
    assert.equal((await post(request('ping'), null, { authorization: Authorization })).status, 200)
  } finally {
    rmSync(state, { recursive: true })
  }
})
