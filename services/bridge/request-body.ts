import type { IncomingMessage } from 'node:http'
import { S2Error } from '#fleet/errors.ts'

/** Bytes of all bodies that are being read at one time. */
const UNDER_WAY_MAX = 64 * 1024 * 1024

/** Reads request bodies, with a limit for each and for all together. */
export class BodyReader {
  readonly #max: number
  #underWay = 0

  constructor(max: number) {
    this.#max = max
  }

  /** Throws `too_large` before it has read it all, `unavailable` when too much is being read, `invalid` when it breaks off. */
  read(request: IncomingMessage): Promise<Buffer> {
    const announced = Number(request.headers['content-length'] ?? 0)
    if (announced > this.#max) return Promise.reject(this.#tooLarge(announced))
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = []
      let size = 0
      const end = (): void => {
        this.#underWay -= size
        request.off('data', onData).off('end', onEnd).off('close', onClose)
      }
      const refuse = (error: S2Error): void => {
        end()
        reject(error)
      }
      const onData = (chunk: Buffer): void => {
        chunks.push(chunk)
        size += chunk.length
        this.#underWay += chunk.length
        if (size > this.#max) refuse(this.#tooLarge(size))
        else if (this.#underWay > UNDER_WAY_MAX) {
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

  #tooLarge(size: number): S2Error {
    return new S2Error('too_large', `the body has ${size} bytes or more; ${this.#max} are allowed`, {
      next: 'send less at a time, or raise S2_BODY_MAX of the bridge',
    })
  }
}
