/**
 * Mutations of kept inputs, at whatever reads what comes from outside before anybody is known. FUZZ=n tries n of each, SEED=s
 * others. What finds a fault is kept in `corpus.ts`.
 */
import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import { FrameSeal } from '#fleet/frame-seal.ts'
import { matchesDigest, readClaim, sign, signAnswer, verify, verifyAnswer } from '#fleet/signature.ts'
import { HOST_FRAMES, readFrame } from '#store/remote/frames.ts'
import { HostHeaderCheck } from '../../services/bridge/host-header-check.ts'
import { parseJson } from '../../services/bridge/parse-json.ts'
import { BodyReader } from '../../services/bridge/request-body.ts'
import { Dice } from '../simulation/chance.ts'
import { BODIES, FRAMES, HEADS } from './corpus.ts'
import { mutate } from './mutate.ts'

const COUNT = Number(process.env.FUZZ ?? 100_000)
const SEED = process.env.SEED ?? '1'
const TOKEN = 't'.repeat(64)
const SESSION = 'conv_0123456789abcdef/b'

/** Undefined where it is refused as it should be. */
function read(text: string): unknown {
  try {
    return parseJson(Buffer.from(text))
  } catch (error) {
    assert.ok(error instanceof S2Error && error.code === 'invalid', `${JSON.stringify(text)}: ${error}`)
    return undefined
  }
}

/** The names of each object of a valid JSON text, token by token. */
function hasDoubled(text: string): boolean {
  const open: (Set<string> | null)[] = []
  for (const [, name, colon, bracket] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|([[\]{}])/g)) {
    if (bracket === '{') open.push(new Set())
    else if (bracket === '[') open.push(null)
    else if (bracket !== undefined) open.pop()
    else if (colon !== undefined) {
      const known = open.at(-1)
      const said = JSON.parse(name as string) as string
      if (known?.has(said) === true) return true
      known?.add(said)
    }
  }
  return false
}

test('bodies: what is read is what JSON says, and names nothing twice', () => {
  const dice = new Dice(`bodies ${SEED}`)
  let accepted = 0
  for (let n = 0; n < COUNT; n += 1) {
    const text = mutate(BODIES, dice).toWellFormed()
    const value = read(text)
    if (value === undefined) continue
    accepted += 1
    assert.deepEqual(value, JSON.parse(text))
    assert.ok(!hasDoubled(text), text)
  }
  assert.ok(accepted > COUNT / 100, `${accepted} were accepted`)
})

test('frames: none but the one that was sealed is opened, and none breaks the reader', () => {
  const dice = new Dice(`frames ${SEED}`)
  const key = Buffer.alloc(32, 7)
  let whole = 0
  for (let n = 0; n < COUNT; n += 1) {
    const text = mutate(FRAMES, dice).toWellFormed()
    const value = read(text)
    if (value !== undefined && readFrame(HOST_FRAMES, value) !== null) whole += 1
    if (n % 4 > 0) continue
    const sealed = new FrameSeal(key, 'host').seal(text)
    const altered = mutate([sealed], dice).toWellFormed()
    const opened = new FrameSeal(key, 'bridge').open(Buffer.from(altered))
    assert.equal(opened?.toString() === text, altered === sealed, altered)
    assert.equal(opened !== null, altered === sealed, altered)
  }
  assert.ok(whole > 0)
})

test('signature headers: what was altered counts as nobody’s', () => {
  const dice = new Dice(`signatures ${SEED}`)
  const head = { method: 'POST', authority: '127.0.0.1:7433', path: '/v1/send', query: '?' }
  const body = Buffer.from('{}')
  const headers = sign(
    { ...head, body },
    { session: SESSION, token: TOKEN, created: 1_790_000_000, nonce: 'n'.repeat(22) },
  )
  const answer = { status: 200, body, requestSignature: headers.signature.slice(4, -1) }
  const answered = signAnswer(answer, { session: SESSION, token: TOKEN, created: 1_790_000_000 })
  const names = Object.keys(headers) as (keyof typeof headers)[]
  for (let n = 0; n < COUNT; n += 1) {
    const name = dice.pick(names)
    const altered = { ...headers, [name]: mutate([headers[name]], dice) }
    const claim = readClaim(altered)
    const isGenuine = claim !== null && verify(head, claim, [TOKEN]) !== null && matchesDigest(body, claim)
    assert.equal(isGenuine, altered[name] === headers[name], altered[name])
    const other = { ...answered, [name]: mutate([answered[name]], dice) }
    const isBridge = verifyAnswer(answer, other, { session: SESSION, token: TOKEN })
    assert.equal(isBridge, other[name] === answered[name], other[name])
  }
})

/** A connection in memory. */
class Wire extends Duplex {
  override _read(): void {}
  override _write(_: Buffer, __: string, done: () => void): void {
    done()
  }
  setTimeout(): this {
    return this
  }
  setNoDelay(): this {
    return this
  }
  setKeepAlive(): this {
    return this
  }
}

test('heads: whatever comes, it is answered or refused, and two hosts are never one', async () => {
  const dice = new Dice(`heads ${SEED}`)
  const check = new HostHeaderCheck([], [])
  const bodies = new BodyReader(4_096)
  let passed = 0
  const server = createServer({ maxHeaderSize: 8_192 }, (request: IncomingMessage, response: ServerResponse) => {
    try {
      check.check(request)
      assert.equal(request.rawHeaders.filter((name, at) => at % 2 === 0 && /^host$/i.test(name)).length, 1)
      passed += 1
      readClaim(request.headers)
      bodies.read(request, SESSION).then(
        (body) => response.end(String(read(String(body)) === undefined)),
        () => response.destroy(),
      )
    } catch (error) {
      assert.ok(error instanceof S2Error, String(error))
      response.writeHead(400).end()
    }
  })
  server.on('upgrade', (request, socket) => {
    try {
      check.check(request)
    } catch (error) {
      assert.ok(error instanceof S2Error, String(error))
    }
    socket.destroy()
  })
  server.on('clientError', (_, socket) => socket.destroy())
  for (let n = 0; n < COUNT; n += 1) {
    const wire = new Wire()
    wire.on('error', () => undefined)
    server.emit('connection', wire)
    wire.push(mutate(HEADS, dice))
    if (n % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
    setImmediate(() => setImmediate(() => wire.destroy()))
  }
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
  assert.ok(passed > COUNT / 100, `${passed} got through`)
})
