import { createHash, randomBytes } from 'node:crypto'
import { readdir, readFile, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { CommandContext } from '#console/context.ts'
import { isPassing, S2Error } from '#fleet/errors.ts'
import { processStart } from '#runtime/process-stat.ts'
import { ensureFolder, publishInto } from '#spool/atomic-files.ts'

/** How long a request whose outcome is not known is repeated by the same command. */
const KEPT_MS = 3_600_000

/** How far the clocks of this host and of the bridge may differ before what it answers counts as done by an earlier try. */
const CLOCKS_DIFFER_MS = 1_000

/** Whether something was in the store before a command began, both in milliseconds since 1970. */
export function cameEarlier(at: number, began: number): boolean {
  return at < began - CLOCKS_DIFFER_MS
}

/** A request as it is sent: whether it is a new one, or that of an earlier command whose outcome nobody was told. */
export interface KeptRequest<T> {
  readonly request: T
  readonly isRepeated: boolean
}

/** What makes two commands the same, and how the key of a request is given by hand. */
export interface KeptRequestParts<T> {
  readonly state: string
  /** What was asked, without what is drawn anew for each request. */
  readonly asked: unknown
  /** A request with a key of its own. */
  readonly fresh: () => T
  /** The option that repeats the request from anywhere, such as `--key K`. */
  readonly optionOf: (request: T) => string
}

/**
 * Asks for something that must not be done twice, and prints the answer by `say`. The request is kept in the state folder until
 * its outcome was told, so that the same command, said again within an hour after a failure or the death of this process, repeats
 * it with its key. Two of the same at once are two. Where the folder cannot be written, the error names the option that does the
 * same.
 */
export async function askOnce<T, R>(
  context: Pick<CommandContext, 'clock' | 'flush' | 'tell'>,
  { state, asked, fresh, optionOf }: KeptRequestParts<T>,
  ask: (kept: KeptRequest<T>) => Promise<R>,
  say: (answer: R) => void,
): Promise<void> {
  const kept = await KeptFile.take(join(state, 'asked'), digestOf(asked), fresh, context.clock.wall())
  const option = optionOf(kept.request)
  try {
    say(await ask(kept))
    if (await context.flush()) await kept.forget()
    else context.tell(doneUntold(option, await kept.leaveOpen()))
  } catch (error) {
    if (isPassing(error)) throw withAdvice(error as S2Error, option, await kept.leaveOpen())
    await kept.forget()
    throw error
  }
}

/** What was asked for is done, and standard output did not take the answer. */
export function doneUntold(option: string, isKept: boolean): string {
  return `s2: what was asked for is done\n  next: ${howAgain(option, isKept)}\n`
}

function howAgain(option: string, isKept: boolean): string {
  return isKept
    ? `say the same again, or add ${option}: it is not done twice`
    : `say it again with ${option}: it is not done twice`
}

function withAdvice(error: S2Error, option: string, isKept: boolean): S2Error {
  const again = howAgain(option, isKept)
  const next = error.code === 'unknown_outcome' || error.next === undefined ? again : `${error.next}; then ${again}`
  return new S2Error(error.code, error.message, {
    next,
    cause: error,
    ...(error.id === undefined ? {} : { id: error.id }),
    ...(error.retryAfterS === undefined ? {} : { retryAfterS: error.retryAfterS }),
  })
}

function digestOf(asked: unknown): string {
  return createHash('sha256').update(JSON.stringify(asked)).digest('hex').slice(0, 32)
}

/** The file of one request. Its name says who asks just now: `<digest>.<pid>-<start>-<unique>`, or `<digest>.open-<unique>`. */
class KeptFile<T> implements KeptRequest<T> {
  readonly request: T
  readonly isRepeated: boolean
  readonly #folder: string
  readonly #digest: string
  /** Null where it could not be written. */
  #name: string | null

  private constructor(folder: string, digest: string, kept: KeptRequest<T>, name: string | null) {
    this.#folder = folder
    this.#digest = digest
    this.request = kept.request
    this.isRepeated = kept.isRepeated
    this.#name = name
  }

  /** Takes an earlier request over whose asker has ended, or keeps a new one. */
  static async take<T>(folder: string, digest: string, fresh: () => T, now: number): Promise<KeptFile<T>> {
    const own = `${digest}.${askerOf(process.pid) ?? process.pid}-${randomBytes(4).toString('hex')}`
    for (const name of await leftIn(folder, now)) {
      if (!name.startsWith(`${digest}.`)) continue
      const request = await takeOver<T>(folder, name, own)
      if (request !== null) return new KeptFile(folder, digest, { request, isRepeated: true }, own)
    }
    const request = fresh()
    try {
      await ensureFolder(folder)
      await publishInto(folder, own, `${JSON.stringify(request)}\n`)
      return new KeptFile(folder, digest, { request, isRepeated: false }, own)
    } catch {
      return new KeptFile(folder, digest, { request, isRepeated: false }, null)
    }
  }

  async forget(): Promise<void> {
    if (this.#name === null) return
    await unlink(join(this.#folder, this.#name)).catch(() => undefined) // it is swept when its time is over
  }

  /** Leaves it to the same command again. Answers whether it lies there. */
  async leaveOpen(): Promise<boolean> {
    if (this.#name === null) return false
    const open = `${this.#digest}.open-${randomBytes(4).toString('hex')}`
    try {
      await rename(join(this.#folder, this.#name), join(this.#folder, open))
      return true
    } catch {
      return false
    }
  }
}

/** The requests whose askers have ended. What is older than an hour is removed. */
async function leftIn(folder: string, now: number): Promise<string[]> {
  const left: string[] = []
  for (const name of await readdir(folder).catch(() => [])) {
    const at = await stat(join(folder, name)).then(
      ({ mtimeMs }) => mtimeMs,
      () => null,
    )
    if (at === null || isAsked(name)) continue
    if (now - at < KEPT_MS) left.push(name)
    else await unlink(join(folder, name)).catch(() => undefined)
  }
  return left
}

/** Of several that want it, one renames it. Null where another did, or where it is no request. */
async function takeOver<T>(folder: string, name: string, own: string): Promise<T | null> {
  try {
    await rename(join(folder, name), join(folder, own))
    return JSON.parse(await readFile(join(folder, own), 'utf8')) as T
  } catch {
    return null
  }
}

/** Whether the process that asks for it lives. */
function isAsked(name: string): boolean {
  const [, pid = '', start = ''] = /\.(\d+)-(\d+)-/.exec(name) ?? []
  return pid !== '' && askerOf(Number(pid)) === `${pid}-${start}`
}

/** A process by its pid and start, since pids are used again; null where there is none. */
function askerOf(pid: number): string | null {
  const start = processStart(pid)
  return start === null ? null : `${pid}-${start}`
}
