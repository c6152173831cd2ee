import { constants, lstatSync } from 'node:fs'
import { open, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { TASK_ID } from '#fleet/task.ts'
import { ensureFolder } from './atomic-files.ts'
import { appendText, formerOf } from './line-log.ts'
import { invalid } from './plain-file.ts'

/** Bytes of a task's log; it is kept twice, as it is and as it was before it was full. */
const LOG_MAX = 512_000
/** Logs that are kept on a host, the newest. */
const KEPT = 200
/** Characters that wait for the disk; what comes meanwhile and is more is left out. */
const WAITING_MAX = 256_000
const SUFFIX = '.log'

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants

function logsFolder(state: string): string {
  return join(state, 'agents', 'logs')
}

export function taskLog(state: string, task: string): string {
  return join(logsFolder(state), `${task}${SUFFIX}`)
}

/** Writes what is said while tasks are done, each in a bounded file of its own in the state folder. A disk that fails costs no task. */
export class TaskLogWriter {
  readonly #state: string
  readonly #onTrouble: (error: unknown) => void
  #waiting = new Map<string, string>()
  #writing: Promise<void> | null = null

  constructor(state: string, onTrouble: (error: unknown) => void) {
    this.#state = state
    this.#onTrouble = onTrouble
  }

  write(task: string, text: string): void {
    if (!TASK_ID.test(task)) return
    const before = this.#waiting.get(task) ?? ''
    if (before.length + text.length <= WAITING_MAX) this.#waiting.set(task, before + text)
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = null
    })
  }

  /** Settles when all is written. */
  async settled(): Promise<void> {
    while (this.#writing !== null) await this.#writing
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.size > 0) {
      const some = this.#waiting
      this.#waiting = new Map()
      for (const [task, text] of some) await this.#append(task, text).catch(this.#onTrouble)
    }
  }

  async #append(task: string, text: string): Promise<void> {
    const path = taskLog(this.#state, task)
    const isNew = lstatSync(path, { throwIfNoEntry: false }) === undefined
    await ensureFolder(logsFolder(this.#state))
    await appendText(path, text, LOG_MAX)
    if (isNew) await this.#tidy()
  }

  async #tidy(): Promise<void> {
    for (const { task } of (await logsIn(this.#state)).slice(KEPT)) {
      const path = taskLog(this.#state, task)
      for (const each of [path, formerOf(path)]) await unlink(each).catch(() => undefined)
    }
  }
}

/** The tasks of which a log is kept in a state folder, the newest first. */
export async function logsIn(state: string): Promise<{ readonly task: string; readonly changedAt: number }[]> {
  const names = await readdir(logsFolder(state)).catch(() => [])
  const found = names.flatMap((name) => {
    const task = name.slice(0, -SUFFIX.length)
    const file = name.endsWith(SUFFIX) ? lstatSync(taskLog(state, task), { throwIfNoEntry: false }) : undefined
    return file?.isFile() === true ? [{ task, changedAt: file.mtimeMs }] : []
  })
  return found.sort((x, y) => y.changedAt - x.changedAt)
}

/** What a log holds from a byte on, and where it ends; a file that is shorter was begun anew, and is read from its beginning. */
export async function readLog(path: string, from: number): Promise<{ readonly text: string; readonly end: number }> {
  await using file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  const found = await file.stat()
  if (!found.isFile()) throw invalid('is no file')
  const start = found.size < from ? 0 : from
  const length = Math.min(found.size - start, 2 * LOG_MAX)
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, start)
  // A line whose end has not come is read with it.
  const whole = buffer.subarray(0, buffer.subarray(0, bytesRead).lastIndexOf(NEWLINE) + 1)
  return { text: whole.toString('utf8'), end: start + whole.length }
}

const NEWLINE = 0x0a
