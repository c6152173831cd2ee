import type { IncomingMessage } from 'node:http'
import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { JOIN_REQUEST_MAX } from '#fleet/worker.ts'

/** Bytes of all bodies that are being read at one time, and of those of one session. */
const UNDER_WAY_MAX = 64 * 1024 * 1024
const OF_ONE_MAX = 4 * 1024 * 1024

/** What somebody sends who need not say who it is: a request to join is the longest of it, and may have as many bytes. */
const PUBLIC_MAX = 2 * JOIN_REQUEST_MAX

/** Who sends a body; all who need not say so are one. Null is this host's administration, which all can be left to. */
export type Sender = SessionId | 'public' | null

/** Reads request bodies, with a limit for each, for those of one session, and for all together. */
export class BodyReader {
  readonly #max: number
  #underWay = 0
  readonly #bySender = new Map<Sender, number>()

  constructor(max: number) {
    this.#max = max
  }

  /** Throws `too_large` before it has read it all, `unavailable` when too much is being read, `invalid` when it breaks off. */
  read(request: IncomingMessage, sender: Sender): Promise<Buffer> {
    const announced = Number(request.headers['content-length'] ?? 0)
    const max = sender === 'public' ? Math.min(PUBLIC_MAX, this.#max) : this.#max
    const tooLarge = (bytes: number): S2Error =>
      new S2Error('too_large', `the body has ${bytes} bytes or more; ${max} are allowed`, {
        next:
          sender === 'public'
            ? 'send a request to join as s2 worker join does'
            : 'send less at a time, or raise S2_BODY_MAX of the bridge',
      })
    if (announced > max) return Promise.reject(tooLarge(announced))
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = []
      let size = 0
      const end = (): void => {
        this.#count(sender, -size)
        request.off('data', onData).off('end', onEnd).off('close', onClose)
      }
      const refuse = (error: S2Error): void => {
        end()
        reject(error)
      }
      const onData = (chunk: Buffer): void => {
        chunks.push(chunk)
        size += chunk.length
        this.#count(sender, chunk.length)
        if (size > max) refuse(tooLarge(size))
        else if (this.#isTooMuch(sender)) {
          refuse(new S2Error('unavailable', 'too much is being sent to the bridge at once', { retryAfterS: 1 }))
        }
      }
      const onEnd = (): void => {
        end()
        resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks))
      }
      const onClose = (): void => refuse(new S2Error('invalid', 'the request ended early'))
      request.on('data', onData).on('end', onEnd).on('close', onClose)
    })
  }

  #count(sender: Sender, bytes: number): void {
    this.#underWay += bytes
    const left = (this.#bySender.get(sender) ?? 0) + bytes
    if (left === 0) this.#bySender.delete(sender)
    else this.#bySender.set(sender, left)
  }

  /** One body always fits, however large bodies may be. */
  #isTooMuch(sender: Sender): boolean {
    if (sender === null) return false
    const own = this.#bySender.get(sender) ?? 0
    return own > Math.max(OF_ONE_MAX, this.#max) || this.#underWay > Math.max(UNDER_WAY_MAX, 2 * this.#max)
  }
}
