import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Clock, systemClock } from '#runtime/clock.ts'
import { VERBS } from '#store/remote/wire-schema.ts'
import { type Answer, Ground, HASTY, type Seat } from './ground.ts'

function refused(answer: Answer, status: number, code: string): void {
  assert.equal(answer.status, status, answer.text)
  assert.equal(answer.json.code, code, answer.text)
  assert.equal(answer.headers['content-type'], 'application/problem+json')
  assert.ok(answer.json.id && answer.json.title && answer.json.detail && answer.json.type, answer.text)
}

test('a signed send is committed and answered', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  const answer = await ground.send(a)
  assert.equal(answer.status, 200, answer.text)
  assert.equal(answer.json.text, 'hello')
  assert.equal((await ground.store.unacked(b.session, 0, 10)).length, 1)
})

test('whoever does not prove a live session gets one and the same refusal', async () => {
  await using ground = await Ground.open()
  const { opened, a } = await ground.channel()
  const gone = await ground.channel('s2-worker-2')
  await ground.store.endConversation(gone.opened.id)
  const answers = [
    await ground.send({ ...a, token: 'f'.repeat(64) }),
    await ground.send({ ...a, session: 'conv_ffffffffffffffff/a' }),
    await ground.send({ session: `${opened.id}/b`, token: a.token }),
    await ground.send(gone.a),
    await ground.send({ ...gone.a, token: '0'.repeat(64) }),
  ]
  for (const answer of answers) {
    refused(answer, 401, 'unauthenticated')
    assert.deepEqual({ ...answer.json, id: '' }, { ...answers[0]?.json, id: '' })
  }
  assert.equal(ground.metric('s2_bridge_refused_unauthenticated_total'), answers.length)
  const ids = new Set(answers.map(({ json }) => json.id))
  assert.equal(ids.size, answers.length)
  const said = JSON.stringify(ground.log.records)
  assert.ok(said.includes(answers[0]?.json.id), 'the log knows the id')
  assert.ok(!said.includes(a.token) && !said.includes('f'.repeat(64)), 'and no token')
})

test('a signature counts for what was signed and nothing else', async () => {
  await using ground = await Ground.open()
  const { a } = await ground.channel()
  const body = JSON.stringify({ from: a.session, key: 'k', draft: { text: 'hello' } })
  const headers = ground.signed(a, body)
  refused(await ground.ask({ headers, body: body.replace('hello', 'hella') }), 401, 'unauthenticated')
  refused(await ground.ask({ headers, body: `${body} ` }), 401, 'unauthenticated')
  refused(await ground.ask({ headers, body, path: '/v1/send?x=1' }), 401, 'unauthenticated')
  refused(await ground.ask({ headers, body, path: '/v1/mark' }), 401, 'unauthenticated')
  for (const name of Object.keys(headers)) {
    refused(await ground.ask({ headers: { ...headers, [name]: undefined }, body }), 401, 'unauthenticated')
  }
  const other = ground.signed(a, body)
  refused(
    await ground.ask({ headers: { ...headers, signature: [headers.signature, other.signature] }, body }),
    401,
    'unauthenticated',
  )
  refused(await ground.ask({ headers: { ...headers, signature: other.signature }, body }), 401, 'unauthenticated')
  assert.equal((await ground.ask({ headers, body })).status, 200, 'untouched it counts')
})

test('every request counts once', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  const body = JSON.stringify({ from: a.session, key: 'k', draft: { text: 'hello' } })
  const headers = ground.signed(a, body)
  assert.equal((await ground.ask({ headers, body })).status, 200)
  const again = await ground.ask({ headers, body })
  refused(again, 401, 'unauthenticated')
  assert.match(again.json.detail, /made before/)
  const [one, two] = await Promise.all([ground.send(b), ground.send(b)])
  assert.deepEqual([one.status, two.status], [200, 200])
})

/** Signatures count in whole seconds of the wall: none may begin in the midst of a test. */
const STILL: Clock = { ...systemClock, wall: () => 1_790_000_000_500 }

test('what is signed at another time is refused with the bridge’s time', async () => {
  await using ground = await Ground.open({}, { clock: STILL })
  const { a } = await ground.channel()
  const now = Math.floor(ground.clock.wall() / 1000)
  for (const created of [now - 62, now + 4, now + 3600, 999_999_999]) {
    const answer = await ground.send(a, { signer: { created } })
    refused(answer, 401, 'expired')
    assert.ok(Math.abs(answer.json.time - ground.clock.wall()) < 1_000)
  }
  assert.equal((await ground.send(a, { signer: { created: now - 50 } })).status, 200)
})

test('what was signed before a restart is refused, and what is signed after it counts', async () => {
  await using ground = await Ground.open({}, { clock: STILL })
  const { a } = await ground.channel()
  const body = JSON.stringify({ from: a.session, key: 'k', draft: { text: 'hello' } })
  const headers = ground.signed(a, body)
  assert.equal((await ground.ask({ headers, body })).status, 200)
  await ground.restart(false)
  const replayed = await ground.ask({ headers, body })
  refused(replayed, 401, 'expired')
  assert.ok(replayed.json.retryAfterS > 0 && replayed.json.retryAfterS <= 2, replayed.text)
  assert.ok(Number(replayed.headers['retry-after']) >= 1)
  ground.clientClock.offsetMs = 1_000
  refused(await ground.send(a), 401, 'expired')
  ground.clientClock.offsetMs = 0
  ground.clock.offsetMs = 2_000
  ground.clientClock.offsetMs = 2_000
  assert.equal((await ground.send(a)).status, 200)
})

test('a clock that is set back lets nothing in twice', async () => {
  await using ground = await Ground.open({}, { clock: STILL })
  const { a } = await ground.channel()
  const body = JSON.stringify({ from: a.session, key: 'k', draft: { text: 'hello' } })
  const headers = ground.signed(a, body)
  assert.equal((await ground.ask({ headers, body })).status, 200)
  ground.clock.offsetMs = ground.clientClock.offsetMs = 90_000
  assert.equal((await ground.send(a)).status, 200, 'the old nonce is forgotten by now')
  ground.clock.offsetMs = ground.clientClock.offsetMs = 0
  refused(await ground.ask({ headers, body }), 401, 'expired')
})

test('a session speaks only for itself', async () => {
  await using ground = await Ground.open()
  const one = await ground.channel()
  const two = await ground.channel('s2-worker-2')
  const beat = { session: two.b.session, host: 'h', incarnation: 'i', seq: 1, work: 0 }
  const foreign: [string, unknown][] = [
    ['send', { from: one.a.session, key: 'k', draft: { text: 'x' } }],
    ['send', { from: two.b.session, key: 'k', draft: { text: 'x' } }],
    ['unacked', { reader: one.a.session, after: 0, limit: 10 }],
    ['mark', { reader: two.b.session, ids: [1], mark: 'acked' }],
    ['beat', { beats: [{ ...beat, session: one.b.session }, beat] }],
    ['leaseTask', { holder: two.b.session, incarnation: 'i' }],
    [
      'report',
      { holder: two.b.session, report: { task: 't', epoch: 1, state: 'failed', progress: null, result: null } },
    ],
  ]
  const administration: [string, unknown][] = [
    ['openConversation', { wanted: { roles: { a: 'x', b: 'y' }, agents: { a: 'x', b: 'y' }, lifetimeMs: 1 } }],
    ['endConversation', { id: two.opened.id }],
    ['tokens', { session: one.b.session }],
    ['rotateToken', { session: one.b.session, overlapMs: 0 }],
    ['renewConversation', { id: one.opened.id, lifetimeMs: 1 }],
    ['move', { move: { task: 't', epoch: 1, to: null, reason: 'by_hand' } }],
    ['audit', { after: 0, limit: 10 }],
    ['prune', { olderThanMs: 0 }],
    ['pulses', { after: 0 }],
    ['judge', { verdicts: [] }],
    ['tend', {}],
  ]
  for (const [verb, input] of [...foreign, ...administration]) {
    const body = JSON.stringify(input)
    const path = `/v1/${verb}`
    refused(await ground.ask({ path, body, headers: ground.signed(one.b, body, { path }) }), 403, 'forbidden')
  }
  refused(
    await ground.ask({
      path: '/v1/traffic',
      body: '{"after":0}',
      headers: ground.signed(one.b, '{"after":0}', { path: '/v1/traffic' }),
    }),
    404,
    'not_found',
  )
})

test('names and pages that nobody allowed are turned away', async () => {
  await using ground = await Ground.open({
    S2_ALLOWED_HOSTS: 'fleet.example.org',
    S2_ALLOWED_ORIGINS: 'https://fleet.example.org',
  })
  const { a } = await ground.channel()
  for (const host of [
    'rebound.example.com',
    'rebound.example.com:7433',
    '10.1.2.3',
    'localhost.example.com',
    '127.0.0.1.example.com',
  ]) {
    refused(await ground.send(a, { headers: { host } }), 403, 'forbidden')
  }
  for (const host of [
    'localhost',
    'localhost:1',
    '127.0.0.1:9',
    '[::1]:7433',
    'Fleet.Example.org',
    'fleet.example.org:443',
  ]) {
    const signer = { authority: host.toLowerCase() }
    assert.equal((await ground.send(a, { headers: { host }, signer })).status, 200, host)
  }
  refused(await ground.send(a, { headers: { origin: 'https://evil.example.com' } }), 403, 'forbidden')
  refused(await ground.send(a, { headers: { origin: 'null' } }), 403, 'forbidden')
  const allowed = await ground.send(a, { headers: { origin: 'https://fleet.example.org' } })
  assert.equal(allowed.status, 200)
  assert.equal(allowed.headers['access-control-allow-origin'], 'https://fleet.example.org')
  const preflight = await ground.ask({ method: 'OPTIONS', headers: { origin: 'https://fleet.example.org' } })
  assert.equal(preflight.status, 204)
})

test('what is no request of ours is refused in words', async () => {
  await using ground = await Ground.open()
  refused(await ground.ask({ path: '/v1/nothing' }), 404, 'not_found')
  refused(await ground.ask({ path: '/v1/__proto__' }), 404, 'not_found')
  refused(await ground.ask({ path: '/v1/../v1/send' }), 404, 'not_found')
  refused(await ground.ask({ path: '/' }), 404, 'not_found')
  const get = await ground.ask({ method: 'GET' })
  refused(get, 405, 'invalid')
  assert.equal(get.headers.allow, 'POST')
  refused(await ground.ask({}), 401, 'unauthenticated')
  const { a } = await ground.channel()
  refused(await ground.send(a, { headers: { 'content-type': 'text/plain' } }), 400, 'invalid')
})

test('hostile JSON is refused and does no harm', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  const from = JSON.stringify(a.session)
  const fine = `{"from":${from},"key":"k","draft":{"text":"x"}}`
  const bodies: (string | Buffer)[] = [
    '',
    'null',
    '[]',
    '"x"',
    '{',
    fine.slice(0, -1),
    `${fine}${fine}`,
    '['.repeat(200_000),
    `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
    `{"draft":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}}`,
    fine.replace('"key"', '"__proto__":{"key":"k"},"nokey"'),
    fine.replace('{"text"', '{"__proto__":{"x":1},"text"'),
    fine.replace('"key"', '"constructor":{"prototype":{"x":1}},"key"'),
    fine.replace('"k"', '1'),
    fine.replace('"k"', '["k"]'),
    fine.replace('"x"', '"x","extra":1'),
    fine.replace('"x"', '"\\ud800"'),
    fine.replace('"x"', '"a\0b"'),
    Buffer.concat([Buffer.from(fine.slice(0, -3)), Buffer.from([0xff, 0xfe]), Buffer.from('"}}')]),
    `\uFEFF${fine}`,
    fine.replace('"x"', '"x","files":[1]'),
    fine.replace('"x"', `"x","files":${JSON.stringify(Array(20_000).fill('f'))}`),
    fine.replace(from, '"conv_x/c"'),
    fine.replace(from, '"../../a"'),
  ]
  for (const body of bodies) {
    const answer = await ground.send(a, { body })
    refused(answer, 400, 'invalid')
  }
  assert.equal(({} as Record<string, unknown>).x, undefined)
  assert.equal((await ground.store.unacked(b.session, 0, 10)).length, 0)
  const pair = await ground.send(a, { body: fine.replace('"x"', '"\\ud83d\\ude00 \\\\ud800"') })
  assert.equal(pair.json.text, '😀 \\ud800', 'whole characters are welcome, and so is talk of halves')
})

test('whatever is put into a request, the bridge answers in its own words', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  const values = fc.oneof(
    { arbitrary: fc.jsonValue({ maxDepth: 2 }), weight: 2 },
    fc.constantFrom<unknown>(a.session, b.session, 'acked', 'P1', 'in_progress', -1, 0, 1, 1e21, null, [], {}),
    fc.record({
      id: fc.string(),
      holder: fc.constant(b.session),
      task: fc.string(),
      epoch: fc.nat(),
      text: fc.string(),
    }),
  )
  const fields = [...new Set(Object.values(VERBS).flatMap(({ input }) => Object.keys(input.properties)))]
  const statuses = new Set<number>()
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.entries(VERBS)),
      fc.dictionary(fc.constantFrom(...fields), values),
      fc.array(values, { minLength: 9, maxLength: 9 }),
      fc.boolean(),
      async ([verb, { input }], some, more, exact) => {
        const own = Object.fromEntries(Object.keys(input.properties).map((name, index) => [name, more[index]]))
        const body = JSON.stringify(exact ? own : some)
        const path = `/v1/${verb}`
        const answer = await ground.ask({ path, body, headers: ground.signed(b, body, { path }) })
        statuses.add(answer.status)
        const isLate = answer.status === 408 // this machine stood still for the ten seconds that a head may take
        assert.ok(
          isLate || [200, 400, 403, 404, 409, 413].includes(answer.status),
          `${answer.status} ${verb} ${body}: ${answer.text}`,
        )
      },
    ),
    { numRuns: 1_500 },
  )
  for (const status of [200, 400, 403]) assert.ok(statuses.has(status), `no answer had the status ${status}`)
  assert.equal(ground.log.records.filter(({ level }) => level === 'error').length, 0)
})

/** The head of a signed request that announces a body of so many bytes, without its last empty line. */
function headOf(ground: Ground, seat: Seat, length: number, body = ''): string {
  const headers = Object.entries(ground.signed(seat, body)).map(([name, value]) => `${name}: ${value}\r\n`)
  return `POST /v1/send HTTP/1.1\r\nhost: 127.0.0.1:${ground.port}\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n${headers.join('')}`
}

test('a body that is too large is refused before it is read', async () => {
  await using ground = await Ground.open({ S2_BODY_MAX: '2000' })
  const { a } = await ground.channel()
  refused(await ground.send(a, { body: 'x'.repeat(2001) }), 413, 'too_large')
  refused(
    await ground.send(a, {
      body: 'x'.repeat(2001),
      headers: { 'content-length': undefined, 'transfer-encoding': 'chunked' },
    }),
    413,
    'too_large',
  )

  const wire = await ground.wire()
  wire.write(`${headOf(ground, a, 1_000_000_000)}\r\nxxx`)
  const [answer] = (await once(wire, 'data')) as [Buffer]
  assert.match(String(answer), /^HTTP\/1\.1 413 /)
  await once(wire.resume(), 'close')
  assert.equal((await ground.send(a)).status, 200)
})

test('a caller that says what it wants to send before it does is told at once', async () => {
  await using ground = await Ground.open({ S2_BODY_MAX: '2000' })
  const { a } = await ground.channel()
  const wire = await ground.wire()
  wire.write(`${headOf(ground, a, 3_000)}expect: 100-continue\r\n\r\n`)
  const [answer] = (await once(wire, 'data')) as [Buffer]
  assert.match(String(answer), /^HTTP\/1\.1 (413|100)/)
  wire.destroy()
})

test('each session has its own allowance, and beats are apart', async () => {
  await using ground = await Ground.open({ S2_RATE: '3' })
  const { a, b } = await ground.channel()
  for (let sent = 0; sent < 3; sent += 1) assert.equal((await ground.send(a)).status, 200)
  const beyond = await ground.send(a)
  refused(beyond, 429, 'rate_limited')
  const wait = Number(beyond.headers['retry-after'])
  assert.ok(wait >= 1 && wait <= 20, String(wait))
  assert.equal((await ground.send(b)).status, 200, 'another session is not touched')
  refused(await ground.send({ ...b, token: 'f'.repeat(64) }), 401, 'unauthenticated')
  assert.equal((await ground.send(b)).status, 200, 'who cannot prove to be a session uses nothing of its allowance')
  const body = JSON.stringify({ beats: [{ session: a.session, host: 'h', incarnation: 'i', seq: 1, work: 0 }] })
  const path = '/v1/beat'
  for (let beat = 0; beat < 5; beat += 1) {
    assert.equal((await ground.ask({ path, body, headers: ground.signed(a, body, { path }) })).status, 200)
  }
})

test('errors of the store cross the door by their code, and others say nothing of themselves', async () => {
  await using ground = await Ground.open()
  const { a } = await ground.channel()
  const body = (text: string): string => JSON.stringify({ from: a.session, key: 'one', draft: { text } })
  assert.equal((await ground.send(a, { body: body('x') })).status, 200)
  const other = await ground.send(a, { body: body('y'), headers: { 'x-request-id': 'mine-7' } })
  refused(other, 409, 'conflict')
  assert.equal(other.json.id, 'mine-7')
  refused(await ground.send(a, { body: body('x'.repeat(50_001)) }), 413, 'too_large')
  ground.store.send = async () => {
    throw new Error('the disk is on fire at /home/x')
  }
  const broken = await ground.send(a)
  refused(broken, 500, 'internal')
  assert.ok(!/fire|home/.test(broken.text), broken.text)
  const record = ground.log.records.find(({ fields }) => fields.id === broken.json.id)
  assert.equal(record?.level, 'error')
  assert.match(String(record?.fields.error), /on fire/)
})

test('requests sent in one go are answered in order', async () => {
  await using ground = await Ground.open()
  const { a } = await ground.channel()
  const request = (text: string): string => {
    const body = JSON.stringify({ from: a.session, key: text, draft: { text } })
    return `${headOf(ground, a, body.length, body)}\r\n${body}`
  }
  const wire = await ground.wire()
  wire.write(['one', 'two', 'three'].map(request).join(''))
  let heard = ''
  wire.on('data', (chunk) => {
    heard += String(chunk)
    if (heard.includes('"text":"three"')) wire.end()
  })
  await once(wire, 'close')
  assert.deepEqual(
    [...heard.matchAll(/"text":"(\w+)"/g)].map(([, text]) => text),
    ['one', 'two', 'three'],
  )
})

test('who sends a request drop by drop, or not at all, is shut out', async () => {
  await using ground = await Ground.open({}, { patience: HASTY })
  const wire = await ground.wire()
  wire.on('error', () => undefined)
  wire.write('POST /v1/send HTTP/1.1\r\nhost: localhost\r\n')
  const closed = new Promise<void>((resolve) => wire.resume().once('close', () => resolve()))
  const drip = (async () => {
    while (!wire.destroyed) {
      wire.write('x: y\r\n')
      await systemClock.sleep(20)
    }
  })()
  const began = systemClock.now()
  await closed
  assert.ok(systemClock.now() - began < 55_000, 'Node’s own patience is a minute')
  await drip
})

test('the administration socket does everything, unsigned', async () => {
  await using ground = await Ground.open()
  const opened = await ground.askAdmin('openConversation', {
    wanted: { roles: { a: 'x', b: 'y' }, agents: { a: 'o', b: 'w' }, lifetimeMs: 60_000 },
  })
  assert.equal(opened.status, 200, opened.text)
  const session = `${opened.json.id}/b`
  assert.deepEqual((await ground.askAdmin('tokens', { session })).json, [opened.json.tokens.b])
  refused(await ground.askAdmin('tokens', { session, more: 1 }), 400, 'invalid')
  refused(await ground.askAdmin('tokens', { session: 'conv_unknown/a' }), 404, 'not_found')
  assert.equal((await ground.send({ session: `${opened.json.id}/b`, token: opened.json.tokens.b })).status, 200)
  assert.equal((await ground.askAdmin('endConversation', { id: opened.json.id })).status, 200)
  refused(await ground.send({ session: `${opened.json.id}/b`, token: opened.json.tokens.b }), 401, 'unauthenticated')
})
