import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { FrameSeal, SEAL_LENGTH } from '#fleet/frame-seal.ts'

const KEY = Buffer.alloc(32, 7)
const FRAMES = ['{"kind":"beat"}', '', 'grüße', '{"kind":"beat"}']

function ends(key: Uint8Array = KEY): { readonly host: FrameSeal; readonly bridge: FrameSeal } {
  return { host: new FrameSeal(KEY, 'host'), bridge: new FrameSeal(key, 'bridge') }
}

function opened(by: FrameSeal, frame: string | Buffer): string | null {
  return by.open(Buffer.from(frame))?.toString() ?? null
}

test('what one side seals the other opens, frame by frame, in both directions', () => {
  const { host, bridge } = ends()
  for (const text of FRAMES) {
    assert.equal(opened(bridge, host.seal(text)), text)
    assert.equal(opened(host, bridge.seal(text)), text)
  }
})

test('a seal is 132 bits of an HMAC over the side, the number of the frame and the text', () => {
  const { host, bridge } = ends()
  for (const [number, text] of FRAMES.entries()) {
    for (const [side, seal] of [
      ['host', host],
      ['bridge', bridge],
    ] as const) {
      const mac = createHmac('sha256', KEY).update(`${side} ${number}\n${text}`).digest('base64url')
      assert.equal(seal.seal(text), mac.slice(0, 22) + text)
    }
  }
  assert.equal(SEAL_LENGTH, 22)
})

test('a frame that is repeated, left out, or out of its order is refused', () => {
  const repeated = ends()
  const first = repeated.host.seal('one')
  assert.equal(opened(repeated.bridge, first), 'one')
  assert.equal(opened(repeated.bridge, first), null)

  const cut = ends()
  cut.host.seal('one')
  assert.equal(opened(cut.bridge, cut.host.seal('two')), null)
})

test('a frame that is changed anywhere, too short, sent back, or sealed with another key is refused', () => {
  const frame = Buffer.from(ends().host.seal('text'))
  for (let at = 0; at < frame.length; at += 1) {
    const changed = Buffer.from(frame)
    changed[at] = (changed[at] ?? 0) ^ 1
    assert.equal(opened(ends().bridge, changed), null, `byte ${at}`)
  }
  for (let length = 0; length < frame.length; length += 1)
    assert.equal(opened(ends().bridge, frame.subarray(0, length)), null, `${length} bytes`)
  for (const side of ['host', 'bridge'] as const) {
    const own = new FrameSeal(KEY, side).seal('text')
    assert.equal(opened(new FrameSeal(KEY, side), own), null, 'what a side said itself')
  }
  const { host, bridge } = ends(Buffer.alloc(32, 8))
  assert.equal(opened(bridge, host.seal('text')), null)
})
