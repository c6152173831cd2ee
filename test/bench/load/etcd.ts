import { type Ears, Pieces, type Talker } from './talker.ts'

/**
 * A client of etcd that keeps one lease alive over one gRPC stream, as etcd's own clients do: HTTP/2 frames (RFC 9113)
 * by hand, so that the load costs no more here than with the others. A lease is granted on the first stream, kept on the next.
 */
export class EtcdTalker implements Talker {
  readonly #ears: Ears
  readonly #authority: string
  readonly #lease: number
  readonly #pieces = new Pieces()
  readonly #beat: Buffer

  constructor(ears: Ears, port: number, lease: number) {
    this.#ears = ears
    this.#authority = `127.0.0.1:${port}`
    this.#lease = lease
    this.#beat = frame(DATA, 0, KEEP, message([0x08, ...varint(lease)]))
  }

  hello(): Buffer {
    const ttl = [0x08, ...varint(LEASE_S)]
    const id = [0x10, ...varint(this.#lease)]
    return Buffer.concat([
      Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      frame(SETTINGS, 0, 0, Buffer.from([0, 4, 0x7f, 0xff, 0xff, 0xff])), // never to be waited for: each stream's window
      frame(WINDOW_UPDATE, 0, 0, Buffer.from([0x7f, 0xff, 0, 0])), // and the connection's
      this.#headers('/etcdserverpb.Lease/LeaseGrant', GRANT),
      frame(DATA, END_STREAM, GRANT, message([...ttl, ...id])),
    ])
  }

  beat(): Buffer {
    return this.#beat
  }

  take(chunk: Buffer): void {
    const all = this.#pieces.join(chunk)
    let at = 0
    while (all.length >= at + 9) {
      const end = at + 9 + all.readUIntBE(at, 3)
      if (all.length < end) break
      const stream = all.readUInt32BE(at + 5)
      this.#hear(all[at + 3] as number, all[at + 4] as number, stream, all.subarray(at + 9, end))
      at = end
    }
    this.#pieces.keep(all.subarray(at))
  }

  #hear(type: number, flags: number, stream: number, payload: Buffer): void {
    if (type === SETTINGS && flags === 0) this.#ears.write(frame(SETTINGS, ACK, 0, Buffer.alloc(0)))
    if (type === PING && flags === 0) this.#ears.write(frame(PING, ACK, 0, Buffer.from(payload)))
    if (type === GOAWAY || type === RST_STREAM) throw new Error(`etcd gave up stream ${stream}`)
    if (stream === KEEP && type === DATA) this.#hearAlive(payload)
    const isOver = (type === HEADERS || type === DATA) && (flags & END_STREAM) !== 0
    if (!isOver) return
    if (stream === KEEP) throw new Error('etcd ended the stream of keep-alives')
    this.#ears.write(this.#headers('/etcdserverpb.Lease/LeaseKeepAlive', KEEP))
    this.#ears.onReady()
  }

  /** A lease that is no more is answered without a TTL, which is the last field of the message. */
  #hearAlive(payload: Buffer): void {
    if (payload.length < 6 || payload[payload.length - LEASE_TAIL.length] !== LEASE_TAIL[0]) {
      throw new Error('etcd keeps no such lease')
    }
    this.#ears.onAck()
  }

  /** HPACK (RFC 7541) without a table: indexed names, literal values. */
  #headers(path: string, stream: number): Buffer {
    const text = (value: string): number[] => [value.length, ...Buffer.from(value)]
    const block = [
      0x83, // :method POST
      0x86, // :scheme http
      ...[0x04, ...text(path)],
      ...[0x01, ...text(this.#authority)],
      ...[0x0f, 0x10, ...text('application/grpc')], // content-type
      ...[0x00, ...text('te'), ...text('trailers')],
    ]
    return frame(HEADERS, END_HEADERS, stream, Buffer.from(block))
  }
}

/** Frame types and flags, RFC 9113, 6. */
const DATA = 0
const HEADERS = 1
const RST_STREAM = 3
const SETTINGS = 4
const PING = 6
const GOAWAY = 7
const WINDOW_UPDATE = 8
const ACK = 1
const END_STREAM = 1
const END_HEADERS = 4

/** Our streams of a connection. */
const GRANT = 1
const KEEP = 3

/** Longer than any run. */
const LEASE_S = 3_600
/** Field 3 and the whole TTL: two bytes of varint. */
const LEASE_TAIL = [0x18, ...varint(LEASE_S)]

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** A message as gRPC frames it: not compressed, its length, its protobuf bytes. */
function message(bytes: readonly number[]): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(bytes.length, 1)
  return Buffer.concat([head, Buffer.from(bytes)])
}

function varint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128)
  bytes.push(rest)
  return bytes
}
