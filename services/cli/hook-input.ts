import type { Readable } from 'node:stream'
import type { Clock } from '#runtime/clock.ts'

/**
 * What comes on a stream until it ends, a whole JSON object is there, or the time is over; at most `max` bytes of it. What is beyond is
 * read as well, so that the writer is not cut off, and forgotten.
 */
export async function readHookInput(stream: Readable, max: number, withinMs: number, clock: Clock): Promise<string> {
  const chunks: Buffer[] = []
  const text = (): string => Buffer.concat(chunks).subarray(0, max).toString('utf8')
  let size = 0
  const ended = new Promise<void>((resolve) => {
    stream.on('data', (chunk: Buffer) => {
      if (size < max) chunks.push(chunk)
      size += chunk.length
      if (size <= max && endsObject(chunk) && isWhole(text())) resolve()
    })
    for (const event of ['end', 'error', 'close']) stream.once(event, () => resolve())
  })
  const over = new AbortController()
  await Promise.race([ended, clock.sleep(withinMs, over.signal).catch(() => undefined)])
  over.abort()
  stream.destroy()
  return text()
}

function endsObject(chunk: Buffer): boolean {
  return /\}\s*$/.test(chunk.subarray(-8).toString('latin1'))
}

function isWhole(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
