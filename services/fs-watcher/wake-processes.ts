import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Clock } from '#runtime/clock.ts'
import { readStat } from '#runtime/process-stat.ts'
import { signalGroup } from '#runtime/run-command.ts'

/** How long leftover processes may take to end before they are killed, milliseconds. */
const GRACE_MS = 2_000
const LOOK_MS = 20

/** A process, told apart by its birth from a later one with the same number. */
interface Leader {
  readonly pid: number
  readonly born: string
}

/**
 * The process groups of running wake commands, on disk: when this program is killed they run on, and the next start has to end
 * them before it wakes anybody, or two wakes would run at a time.
 */
export class WakeProcesses {
  readonly #path: string
  readonly #running = new Set<Leader>()

  constructor(path: string) {
    this.#path = path
  }

  /** Ends the processes that an earlier start left behind; answers how many groups they were. */
  async endLeftovers(clock: Clock): Promise<number> {
    const left = read(this.#path).filter(lives)
    for (const { pid } of left) {
      signalGroup(pid, 'SIGTERM')
      signalGroup(pid, 'SIGCONT') // a stopped process does not hear TERM
    }
    const deadline = clock.now() + GRACE_MS
    while (left.some(lives) && clock.now() < deadline) await clock.sleep(LOOK_MS)
    for (const { pid } of left) signalGroup(pid, 'SIGKILL')
    return left.length
  }

  /** Records a group by its leader until disposed. */
  enter(pid: number): Disposable {
    const leader = { pid, born: birthOf(pid) ?? '' }
    this.#running.add(leader)
    this.#write()
    return {
      [Symbol.dispose]: () => {
        this.#running.delete(leader)
        this.#write()
      },
    }
  }

  /** Not synced: a machine that lost its power has no processes left. */
  #write(): void {
    try {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 })
      writeFileSync(`${this.#path}.part`, JSON.stringify([...this.#running]), { mode: 0o600 })
      renameSync(`${this.#path}.part`, this.#path)
    } catch {
      // A full disk, for example: the missing record matters only if this program is killed as well.
    }
  }
}

function read(path: string): Leader[] {
  try {
    const kept = JSON.parse(readFileSync(path, 'utf8')) as unknown
    return Array.isArray(kept)
      ? kept.filter(({ pid, born }) => Number.isSafeInteger(pid) && pid > 1 && born !== '')
      : []
  } catch {
    return []
  }
}

function lives({ pid, born }: Leader): boolean {
  return birthOf(pid) === born
}

/** When a process began, in ticks since the machine did, with the machine's own beginning; null when it has ended. */
function birthOf(pid: number): string | null {
  try {
    const { state, startedAt } = readStat(readFileSync(`/proc/${pid}/stat`, 'utf8'))
    if (state === 'Z' || state === 'X') return null
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${startedAt}`
  } catch {
    return null
  }
}
