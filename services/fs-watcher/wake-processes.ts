import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import type { Clock } from '#runtime/clock.ts'
import { hasEnded, processStat } from '#runtime/process-stat.ts'
import { signalGroup } from '#runtime/run-command.ts'
import { readPlainFile } from '#spool/plain-file.ts'

/** How long leftover processes may take to end before they are killed, milliseconds. */
const GRACE_MS = 2_000
const LOOK_MS = 20
const RECORD_FILE_MAX = 1024 * 1024
/** What the environment of every wake command names: the record that it stands in. */
const MARK = 'WAKE_RECORD_OF_S2'

/** A process, told apart by its birth from a later one with the same number. */
interface Leader {
  readonly pid: number
  readonly born: string
}

/**
 * The process groups of running wake commands, on disk: when this program is killed they run on, and the next start has to end
 * them before it wakes anybody, or two wakes would run at a time. The record is no proof: what stands in it is ended only if it
 * leads its group, is of this user, and carries the mark that a wake command is given.
 */
export class WakeProcesses {
  readonly #path: string
  readonly #running = new Set<Leader>()

  constructor(path: string) {
    this.#path = path
  }

  /** What a wake command must have in its environment. */
  get mark(): Readonly<Record<string, string>> {
    return { [MARK]: this.#path }
  }

  /** Ends the processes that an earlier start left behind; answers how many groups they were. */
  async endLeftovers(clock: Clock): Promise<number> {
    const left = (await read(this.#path)).filter((each) => this.#isOurs(each))
    for (const { pid } of left) {
      signalGroup(pid, 'SIGTERM')
      signalGroup(pid, 'SIGCONT') // a stopped process does not hear TERM
    }
    const deadline = clock.now() + GRACE_MS
    while (left.some(lives) && clock.now() < deadline) await clock.sleep(LOOK_MS)
    // The leader may have ended and left others of its group: they carry the mark too.
    for (const { pid } of left) if (this.#hasMembers(pid)) signalGroup(pid, 'SIGKILL')
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

  #isOurs(leader: Leader): boolean {
    return lives(leader) && this.#isMarked(leader.pid)
  }

  #isMarked(pid: number): boolean {
    return isOfThisUser(pid) && environmentOf(pid).includes(`${MARK}=${this.#path}`)
  }

  #hasMembers(group: number): boolean {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
    return pids.map(Number).some((pid) => {
      const stat = processStat(pid)
      return stat?.group === group && !hasEnded(stat) && this.#isMarked(pid)
    })
  }

  /** Not synced: a machine that lost its power has no processes left. A new file each time: nothing planted there is opened. */
  #write(): void {
    const draft = `${this.#path}.part`
    try {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 })
      rmSync(draft, { recursive: true, force: true })
      const file = openSync(draft, 'wx', 0o600)
      try {
        writeFileSync(file, JSON.stringify([...this.#running]))
      } finally {
        closeSync(file)
      }
      renameSync(draft, this.#path)
    } catch {
      // A full disk, for example: the missing record matters only if this program is killed as well.
    }
  }
}

async function read(path: string): Promise<Leader[]> {
  try {
    const kept = JSON.parse((await readPlainFile(path, RECORD_FILE_MAX, 'own'))?.text ?? '[]') as unknown
    return Array.isArray(kept) ? kept.filter(isLeader) : []
  } catch {
    return []
  }
}

function isLeader(value: unknown): value is Leader {
  const { pid, born } = (value ?? {}) as Partial<Leader>
  return Number.isSafeInteger(pid) && (pid as number) > 1 && typeof born === 'string' && born !== ''
}

function lives({ pid, born }: Leader): boolean {
  return birthOf(pid) === born
}

/**
 * When the leader of a group began, in ticks since the machine did, with the machine's own beginning; null when it has ended, or
 * leads no group.
 */
function birthOf(pid: number): string | null {
  const stat = processStat(pid)
  if (stat === null || hasEnded(stat) || stat.group !== pid) return null
  return `${bootId()} ${stat.startedAt}`
}

/** Which run of the machine this is; empty in a sandbox that shows nothing but processes in /proc (ProcSubset=pid). */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return ''
  }
}

function isOfThisUser(pid: number): boolean {
  return statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid === process.getuid?.()
}

function environmentOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
  } catch {
    return []
  }
}
