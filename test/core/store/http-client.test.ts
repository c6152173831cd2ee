import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import type { S2Error } from '#fleet/errors.ts'
import { readClaim, signAnswer, UNREAD_SIGNATURE } from '#fleet/signature.ts'
import { systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { HttpClient } from '#store/remote/http-client.ts'
import { CALL_MS, openRemoteStore } from '#store/remote/remote.ts'
import { VERBS, type VerbName } from '#store/remote/wire-schema.ts'
import { LOCK_WAIT_MS } from '#store/sqlite/database-writer.ts'
import { ManualClock } from '../../manual-clock.ts'
import { until } from '../../until.ts'

const B = 'conv_0123456789abcdef/b'
const TOKEN = 'ab'.repeat(32)
const IDLE = { state: 'idle', what: null, until: null } as const

/** What a bridge says to one question after the other; the last is said again. */
async function asked(
  answers: readonly (() => readonly [status: number, body: unknown])[],
  { token = TOKEN as string | null, verb = 'conversations' as 'conversations' | 'lease' | 'record' | 'beat' } = {},
) {
  let count = 0
  const created: number[] = []
  const bodies: string[] = []
  const server = createServer((request, response) => {
    if (request.headers.upgrade !== undefined) {
      response.writeHead(404).end() // no socket gets through
      return
    }
    request.setEncoding('utf8').on('data', (text: string) => {
      bodies[count] = `${bodies[count] ?? ''}${text}`
    })
    request.on('end', () => {
      const [status, body] = (answers[Math.min(count, answers.length - 1)] as (typeof answers)[number])()
      count += 1
      const bytes = Buffer.from(JSON.stringify(body))
      const claim = readClaim(request.headers)
      created.push(claim?.created ?? 0)
      const signer = { session: B, token: token ?? '', created: 1_790_000_000 } as const
      const signed = signAnswer({ status, body: bytes, requestSignature: claim?.signature ?? '' }, signer)
      response.writeHead(status, token === null ? {} : { ...signed }).end(bytes)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const parts = { clock: systemClock, chance: () => 0, log: recordingLog() }
  const store = openRemoteStore(url, { token: () => TOKEN, sessions: () => [B] }, parts)
  try {
    const ways = {
      conversations: () => store.conversations(),
      lease: () => store.leaseTask(B, 'i'),
      record: () => store.record({ actor: B, action: 'tried', details: {} }),
      beat: () => store.beat([{ session: B, host: 'h', incarnation: 'i', seq: 1, work: 0, activity: IDLE }]),
    }
    const asking: Promise<unknown> = ways[verb]()
    return { answer: await asking.catch((error: unknown) => error), count, created, bodies }
  } finally {
    await store[Symbol.asyncDispose]()
    server.close()
    server.closeAllConnections()
  }
}

/** What a server of Node's says to those who were not heard in time: it is no problem of ours by its form. */
const notHeard = () => [408, ''] as const
const away = () => [503, { code: 'unavailable', detail: 'starting' }] as const
const justStarted = () => {
  return [401, { code: 'expired', detail: 'just started', time: Date.now(), retryAfterS: 0.05 }] as const
}

test('an older bridge that refuses a beat with what a client does gets the beat without it', async () => {
  const older = () => [400, { code: 'invalid', detail: 'activity is not known' }] as const
  const { answer, bodies } = await asked([older, () => [200, null]], { verb: 'beat' })
  assert.equal(answer, undefined)
  assert.deepEqual(
    bodies.map((body) => body.includes('"activity"')),
    [true, false],
  )
  const inVain = await asked([older], { verb: 'beat' })
  assert.equal((inVain.answer as { code: string }).code, 'invalid')
})

test('tries in vain end, but a bridge that says when it will hear us is waited for', async () => {
  const inVain = await asked([away])
  assert.equal((inVain.answer as { code: string }).code, 'unavailable')
  assert.equal(inVain.count, 3)
  const atLast = await asked([away, away, justStarted, justStarted, () => [200, []]])
  assert.deepEqual([atLast.answer, atLast.count], [[], 5])
})

test('who was not heard, as the bridge itself stood still, asks again', async () => {
  const heard = await asked([notHeard, () => [200, []]])
  assert.deepEqual([heard.answer, heard.count], [[], 2])
  assert.equal(((await asked([notHeard])).answer as { code: string }).code, 'unavailable')
})

const TASK = {
  id: 't1',
  description: 'rm -rf /',
  priority: 'P0',
  role: null,
  state: 'accepted',
  epoch: 1,
  holder: B,
  originalAssignee: null,
  incarnation: 'i',
  leaseSeq: 1,
  otherRoles: [],
  work: 0,
  attempts: [],
  pause: null,
  reminded: 0,
  onDeadline: 'fail',
  onStall: null,
  moves: 0,
  progress: null,
  result: null,
  deadline: null,
  createdBy: null,
  createdAt: 0,
  updatedAt: 0,
}

test('a lease that somebody else than the bridge answers gives nothing to run', async () => {
  for (const token of [null, 'ef'.repeat(32)]) {
    const { answer, count } = await asked([() => [200, TASK]], { token, verb: 'lease' })
    assert.equal((answer as { code: string }).code, 'unknown_outcome', String(token))
    assert.match((answer as Error).message, /is not signed by the bridge, and does not count/)
    assert.equal(count, 3, 'asked again, a lease is still one')
  }
  const { answer } = await asked([() => [200, TASK]], { verb: 'lease' })
  assert.equal((answer as { id: string }).id, 't1', 'the bridge’s own answer counts')
})

test('a verb that is done once is not asked again when its answer does not count', async () => {
  const { answer, count } = await asked([() => [200, null]], { token: null, verb: 'record' })
  assert.equal((answer as { code: string }).code, 'unknown_outcome')
  assert.equal(count, 1)
})

test('of all verbs, those that are done once are asked once when the answer is lost on its way', async () => {
  const counts: Record<string, number> = {}
  const server = createServer((request) => {
    const name = request.url?.split('/').at(-1) ?? ''
    counts[name] = (counts[name] ?? 0) + 1
    request.resume().on('end', () => request.socket.destroy())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const trust = { authority: () => undefined, pin: () => undefined }
  const parts = { clock: systemClock, chance: () => 0, log: recordingLog() }
  using client = new HttpClient({ origin, trust, allowsPlain: true }, parts, 10_000)
  const askedOne = async (name: VerbName): Promise<void> => {
    const error: unknown = await client.ask(name, {} as never, null).catch((reason: unknown) => reason)
    assert.equal((error as S2Error).code, VERBS[name].effect === 'reads' ? 'unavailable' : 'unknown_outcome', name)
    assert.equal(counts[name], VERBS[name].effect === 'once' ? 1 : 3, name)
  }
  try {
    await Promise.all((Object.keys(VERBS) as VerbName[]).map(askedOne))
  } finally {
    server.close()
    server.closeAllConnections()
  }
  assert.ok(Object.values(VERBS).some(({ effect }) => effect === 'once'))
})

test('a bridge that cannot read our signature is of another version, and it is said what to do', async () => {
  const detail = UNREAD_SIGNATURE
  const { answer, count } = await asked([() => [401, { code: 'unauthenticated', detail }]], {
    token: null,
    verb: 'lease',
  })
  assert.equal((answer as { code: string }).code, 'unauthenticated')
  assert.match((answer as Error).message, /runs another version of S2 than this host/)
  assert.match((answer as { next: string }).next, /update S2 on the bridge’s host first/)
  assert.equal(count, 1)
})

test('a refusal that nobody signed ends nothing: it is passing, or means what it says', async () => {
  const codeOf = async (code: string, status: number, token: string | null): Promise<string> => {
    const { answer } = await asked([() => [status, { code, detail: 'so' }]], { token, verb: 'lease' })
    return (answer as { code: string }).code
  }
  for (const [code, status] of [
    ['stale_epoch', 409],
    ['conflict', 409],
    ['not_found', 404],
    ['forbidden', 403],
    ['expired', 410],
    ['invalid', 400],
    ['too_large', 413],
    ['internal', 500],
  ] as const) {
    assert.equal(await codeOf(code, status, null), 'unknown_outcome', code)
    assert.equal(await codeOf(code, status, TOKEN), code, 'signed')
  }
  assert.equal(await codeOf('unauthenticated', 401, null), 'unauthenticated')
  assert.equal(await codeOf('unavailable', 503, null), 'unavailable')
})

test('only the bridge sets the clock that requests are signed by: another could have them signed for later', async () => {
  const inAnHour = () => [401, { code: 'expired', detail: 'an hour off', time: Date.now() + 3_600_000 }] as const
  const { answer, created } = await asked([inAnHour], { token: null })
  assert.equal((answer as { code: string }).code, 'unavailable')
  for (const each of created) assert.ok(Math.abs(each - Date.now() / 1000) < 10, String(each))
  const signed = await asked([inAnHour, () => [200, []]])
  assert.deepEqual(signed.answer, [])
  assert.ok((signed.created[1] ?? 0) > Date.now() / 1000 + 3_500)
})

/** The first pause between two tries, by chance at its longest. */
const RETRY_MS = 100

test('a store that is closed while it waits to ask again opens no other connection', async () => {
  const clock = new ManualClock() // whose time stands: the second try never comes by itself
  const paused = Promise.withResolvers<void>()
  const sleep = clock.sleep.bind(clock)
  clock.sleep = (ms, signal) => {
    if (ms === RETRY_MS) paused.resolve()
    return sleep(ms, signal)
  }
  const server = createServer((_, response) => void response.writeHead(503).end()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const parts = { clock, chance: () => 1, log: recordingLog() }
  const store = openRemoteStore(url, { token: () => TOKEN, sessions: () => [B] }, parts)
  const asking = store.conversations().catch((error: unknown) => error)
  await paused.promise
  const opened: (number | undefined)[] = []
  server.on('connection', ({ remotePort }) => opened.push(remotePort))
  await store[Symbol.asyncDispose]()
  assert.equal(((await asking) as { code: string }).code, 'unavailable')
  const own = connect((server.address() as AddressInfo).port, '127.0.0.1').resume()
  await until('those that were opened before this one have come too', () => opened.includes(own.localPort))
  assert.equal(opened.length, 1)
  own.destroy()
  server.close()
  await once(server, 'close')
})

test('each attempt has as long as the bridge may take, the last as well', async () => {
  const clock = new ManualClock()
  const asked: ServerResponse[] = []
  const server = createServer((request, response) => {
    request.resume()
    asked.push(response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const parts = { clock, chance: () => 0, log: recordingLog() }
  const store = openRemoteStore(url, { token: () => TOKEN, sessions: () => [B] }, parts)
  try {
    const answer = store.conversations().catch((error: unknown) => error)
    await until('it asks', () => asked.length === 1)
    await clock.advance(CALL_MS)
    await until('it asks again', async () => {
      await clock.advance(100)
      return asked.length === 2
    })
    await clock.advance(LOCK_WAIT_MS + 4_000)
    asked[1]?.writeHead(503).end(JSON.stringify({ code: 'unavailable', detail: 'the database stayed locked' }))
    assert.match(String(await answer), /the database stayed locked/)
  } finally {
    await store[Symbol.asyncDispose]()
    server.close()
    server.closeAllConnections()
  }
})

test('a verb that is done once is not said to be safe to repeat', async () => {
  const unknown = () =>
    [504, { code: 'unknown_outcome', detail: 'the commit met an error', next: 'ask again' }] as const
  const nextOf = async (verb: 'lease' | 'record', answer: typeof unknown): Promise<unknown> =>
    ((await asked([answer], { verb })).answer as { next: string }).next
  assert.equal(await nextOf('record', unknown), 'look whether it happened before you ask again')
  assert.equal(await nextOf('lease', unknown), 'ask again')
})

test('a request that waited for a connection of another may have happened too when its answer is lost', async () => {
  let count = 0
  const used = new WeakSet()
  const server = createServer((request, response) => {
    request.resume()
    request.on('end', () => {
      count += 1
      const isFirst = !used.has(request.socket)
      used.add(request.socket)
      if (isFirst) response.writeHead(404).end(JSON.stringify({ code: 'not_found', detail: 'so' }))
      else request.socket.destroy()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const parts = { clock: systemClock, chance: () => 0, log: recordingLog() }
  const store = openRemoteStore(`http://127.0.0.1:${port}`, { token: () => TOKEN, sessions: () => [B] }, parts)
  try {
    const act = { actor: B, action: 'tried', details: {} } as const
    const asked = Array.from({ length: 80 }, () => store.record(act).catch((error: S2Error) => error.code))
    const codes = await Promise.all(asked)

    assert.ok(!codes.includes('unavailable'), String(codes))
    assert.equal(count, 80, 'a verb that is done once was asked once')
  } finally {
    await store[Symbol.asyncDispose]()
    server.close()
    server.closeAllConnections()
  }
})
