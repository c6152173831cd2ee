import { randomBytes } from 'node:crypto'
import { FrameSeal, SEAL_LENGTH } from '#fleet/frame-seal.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { frameKey, joinProof } from '#fleet/signature.ts'
import { SOCKET_PATH } from '#store/remote/wire-schema.ts'
import { FIRST, PLACE } from './digits.ts'
import { type Ears, Pieces, type Talker } from './talker.ts'

/** A host of the fleet with one session, as far as its beats go: the same frames that the remote store sends. */
export class WebSocketTalker implements Talker {
  readonly #ears: Ears
  readonly #port: number
  readonly #session: SessionId
  readonly #token: string
  readonly #beat: (seq: number) => string
  readonly #key = randomBytes(4).map((byte) => byte || 1)
  readonly #nonce = randomBytes(18).toString('base64url')
  #seal: FrameSeal | null = null
  readonly #pieces = new Pieces()
  #isUpgraded = false
  #seq = FIRST

  constructor(ears: Ears, port: number, session: SessionId, token: string, beat: string) {
    this.#ears = ears
    this.#port = port
    this.#session = session
    this.#token = token
    this.#beat = (seq) => `{"t":"beat","n":${seq},"beats":[${beat.replaceAll(String(PLACE), String(seq))}]}`
  }

  hello(): Buffer {
    return Buffer.from(
      [
        `GET ${SOCKET_PATH} HTTP/1.1`,
        `Host: 127.0.0.1:${this.#port}`,
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
        '\r\n',
      ].join('\r\n'),
    )
  }

  /** Masked by a key that is not all zeros: a mask of zeros would spare the server the unmasking that every real client costs it. */
  beat(): Buffer {
    this.#seq += 1
    const text = this.#beat(this.#seq)
    return masked(this.#seal?.seal(text) ?? text, this.#key).frame
  }

  take(chunk: Buffer): void {
    const all = this.#pieces.join(chunk)
    let at = 0
    if (!this.#isUpgraded) {
      const end = all.indexOf('\r\n\r\n')
      if (end < 0) {
        this.#pieces.keep(all)
        return
      }
      if (!all.toString('latin1', 0, 12).endsWith(' 101'))
        throw new Error(`no upgrade: ${all.toString('latin1', 0, 400)}`)
      this.#isUpgraded = true
      at = end + 4
    }
    for (;;) {
      const frame = readFrame(all, at)
      if (frame === null) break
      this.#hear(frame.opcode, all.subarray(frame.start, frame.end))
      at = frame.end
    }
    this.#pieces.keep(all.subarray(at))
  }

  #hear(opcode: number, payload: Buffer): void {
    if (opcode === PING) this.#ears.write(masked(payload.toString('latin1'), randomBytes(4), PONG).frame)
    if (opcode === CLOSE) throw new Error(`the bridge closed: ${payload.toString('latin1', 2)}`)
    if (opcode !== TEXT) return
    const text = payload.toString('latin1')
    if (text.startsWith('{"t":"done"', SEAL_LENGTH)) this.#ears.onAck()
    else this.#hearOpening(text)
  }

  #hearOpening(text: string): void {
    const frame = JSON.parse(text) as { t: string; challenge?: string }
    if (frame.t === 'challenge') this.#join(frame.challenge ?? '')
    else if (frame.t === 'joined') this.#ears.onReady()
    else throw new Error(`the bridge said: ${text}`)
  }

  #join(challenge: string): void {
    const greeting = { authority: `127.0.0.1:${this.#port}`, challenge, nonce: this.#nonce }
    const joined = { session: this.#session, after: null }
    const proof = joinProof(this.#token, greeting, joined)
    const text = JSON.stringify({ t: 'join', ...joined, nonce: this.#nonce, proof })
    this.#seal = new FrameSeal(frameKey(this.#token, greeting), 'host')
    this.#ears.write(masked(text, randomBytes(4)).frame)
  }
}

/** Opcodes, RFC 6455, 5.2. */
const TEXT = 1
const CLOSE = 8
const PING = 9
const PONG = 10

/** A whole masked frame, and where its payload starts. */
function masked(text: string, key: Uint8Array, opcode = TEXT): { frame: Buffer; start: number } {
  const payload = Buffer.from(text)
  const length = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 255]
  const head = [0x80 | opcode, 0x80 | (length[0] as number), ...length.slice(1), ...key]
  for (const [at, byte] of payload.entries()) payload[at] = byte ^ (key[at % 4] as number)
  return { frame: Buffer.concat([Buffer.from(head), payload]), start: head.length }
}

/** Where the next frame of a server (never masked) lies; null when it is not all there. */
function readFrame(bytes: Buffer, at: number): { opcode: number; start: number; end: number } | null {
  if (bytes.length < at + 2) return null
  const short = (bytes[at + 1] as number) & 127
  if (short === 127) throw new Error('a frame of more than 64 KiB')
  if (short === 126 && bytes.length < at + 4) return null
  const start = at + (short === 126 ? 4 : 2)
  const end = start + (short === 126 ? bytes.readUInt16BE(at + 2) : short)
  return bytes.length < end ? null : { opcode: (bytes[at] as number) & 15, start, end }
}
