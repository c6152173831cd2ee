import { Digits, FIRST, PLACE } from './digits.ts'
import { type Ears, Pieces, type Talker } from './talker.ts'

/**
 * A client of NATS that puts one key of a JetStream key-value bucket, again and again. A put is a message to
 * `$KV.<bucket>.<key>` whose reply is the stream's acknowledgement that it is stored.
 */
export class NatsTalker implements Talker {
  readonly #ears: Ears
  readonly #inbox: string
  readonly #bytes: Buffer
  readonly #digits: Digits
  readonly #pieces = new Pieces()
  #seq = FIRST

  constructor(ears: Ears, bucket: string, key: string, payload: string) {
    this.#ears = ears
    this.#inbox = `_INBOX.${key}`
    this.#bytes = Buffer.from(`PUB $KV.${bucket}.${key} ${this.#inbox} ${Buffer.byteLength(payload)}\r\n${payload}\r\n`)
    this.#digits = new Digits(this.#bytes, this.#bytes.indexOf(String(PLACE)))
  }

  hello(): null {
    return null
  }

  beat(): Buffer {
    this.#seq += 1
    this.#digits.write(this.#seq)
    return this.#bytes
  }

  take(chunk: Buffer): void {
    const all = this.#pieces.join(chunk)
    let at = 0
    for (;;) {
      const end = all.indexOf('\r\n', at)
      if (end < 0) break
      const line = all.toString('latin1', at, end)
      const size = line.startsWith('MSG ') ? Number(line.slice(line.lastIndexOf(' ') + 1)) + 2 : 0
      if (all.length < end + 2 + size) break
      this.#hear(line, all.toString('latin1', end + 2, end + 2 + size))
      at = end + 2 + size
    }
    this.#pieces.keep(all.subarray(at))
  }

  #hear(line: string, payload: string): void {
    if (line.startsWith('MSG ')) {
      if (!payload.includes('"seq":')) throw new Error(`not stored: ${payload}`)
      this.#ears.onAck()
    } else if (line.startsWith('INFO ')) {
      this.#ears.write(`CONNECT {"verbose":false,"pedantic":false,"protocol":1}\r\nSUB ${this.#inbox} 1\r\nPING\r\n`)
    } else if (line === 'PONG') this.#ears.onReady()
    else if (line === 'PING') this.#ears.write('PONG\r\n')
    else if (line.startsWith('-ERR')) throw new Error(line)
  }
}

/** What makes a stream a key-value bucket: kept in files, the last value of each key. */
export function bucketRequest(bucket: string): string {
  const config = JSON.stringify({
    name: `KV_${bucket}`,
    subjects: [`$KV.${bucket}.>`],
    max_msgs_per_subject: 1,
    discard: 'new',
    storage: 'file',
    num_replicas: 1,
    allow_rollup_hdrs: true,
    deny_delete: true,
    allow_direct: true,
  })
  return `PUB $JS.API.STREAM.CREATE.KV_${bucket} _INBOX.make ${config.length}\r\n${config}\r\n`
}
