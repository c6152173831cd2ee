import { spawnSync } from 'node:child_process'
import { type FSWatcher, readdirSync, readlinkSync, statSync, watch } from 'node:fs'
import { createRequire } from 'node:module'
import { basename } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import type native from 'node-inotify'
import type { InotifyEvent } from 'node-inotify'
import type { Clock } from './clock.ts'
import { withholdFromChildren } from './fd-inheritance.ts'
import type { Log } from './log.ts'
import { Loop } from './loop.ts'

/** What tells of changes: the kernel by either of two roads, or nothing but the polls of whoever watches. */
export type Means = 'inotify' | 'fs.watch' | 'none'

export interface FolderEars {
  /** Names in the folder that were made, written, moved or removed, each once. A hint: never count them. */
  onEvents(names: readonly string[]): void
  /** Events may have been lost, or the folder is another one: look at everything. */
  onDoubt(reason: 'overflow' | 'rewatched'): void
}

export interface FolderWatch extends Disposable {
  readonly folder: string
  /** What tells it of changes just now; 'none' also while the folder is not there. */
  readonly means: Means
}

export interface WatchParts {
  readonly clock: Clock
  readonly log: Pick<Log, 'info' | 'warn'>
  /** The best means to use; inotify unless said. */
  readonly means?: Means
}

/** Whether the folder is still the one that is watched is looked at this often: an ancestor may have been renamed. */
const CHECK_MS = 1_000
/** How often a folder that is not there is looked for. */
const MISSING_MS = 250
/** How often better means are tried again where a limit of the system withheld them. */
const BETTER_MS = 60_000
/** More events than this without a turn of the event loop are a flood: the folder is left alone for a moment. */
const FLOOD_EVENTS = 4_000
const FLOOD_REST_MS = 25
/** Distinct names kept for one turn. */
const NAMES_MAX = 10_000

const watches = new Set<FolderWatch>()

/** Every folder that this process watches now, for its health to say by what. */
export function watchesInForce(): FolderWatch[] {
  return [...watches]
}

/**
 * Tells of changes in a folder until disposed. Events are told outside the kernel's callback, in the same turn of the
 * event loop. What happens before it returns is not told: watch, then read. A folder that is missing, removed,
 * replaced or renamed is waited for and watched again; where the kernel's limits forbid watching, the log says so and
 * the owner's polls have to do.
 */
export function watchFolder(folder: string, ears: FolderEars, parts: WatchParts): FolderWatch {
  const one = new Watch(folder, ears, parts)
  watches.add(one)
  return one
}

class Watch implements FolderWatch {
  readonly folder: string
  readonly #ears: FolderEars
  readonly #parts: WatchParts
  readonly #closing = new AbortController()
  readonly #loop: Loop
  #means: Means = 'none'
  /** Why there are no better means; empty where there is nothing to want. */
  #want = ''
  #hearing: Disposable | null = null
  /** The folder that was last tried; empty when another try is wanted. */
  #watched = ''
  #betterAt = 0
  #isResting = false
  #names = new Set<string>()
  #doubt: 'overflow' | 'rewatched' | null = null
  #isScheduled = false

  constructor(folder: string, ears: FolderEars, parts: WatchParts) {
    this.folder = folder
    this.#ears = ears
    this.#parts = parts
    this.#look('first')
    this.#loop = new Loop({
      clock: parts.clock,
      signal: this.#closing.signal,
      step: async () => this.#look('again'),
      onError: (error) => {
        parts.log.warn('watching a folder failed', { folder, error })
        return CHECK_MS
      },
    })
  }

  get means(): Means {
    return this.#means
  }

  [Symbol.dispose](): void {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#drop()
    watches.delete(this)
  }

  /** Sees to it that the folder which bears the name now is watched; answers milliseconds until it is looked at again. */
  #look(time: 'first' | 'again'): number {
    if (this.#isResting) {
      this.#isResting = false
      return FLOOD_REST_MS
    }
    const found = identify(this.folder)
    if (found === null) {
      this.#drop()
      this.#settle('none', 'the folder is not there yet')
      return MISSING_MS
    }
    const isDue = this.#want !== '' && this.#parts.clock.now() >= this.#betterAt
    if (found === this.#watched && !isDue) return CHECK_MS
    this.#arm(found)
    if (time === 'again' && this.#hearing !== null) this.#tellDoubt('rewatched')
    return CHECK_MS
  }

  #arm(found: string): void {
    this.#drop()
    this.#watched = found
    this.#betterAt = this.#parts.clock.now() + BETTER_MS
    const most = this.#parts.means ?? 'inotify'
    const whys: string[] = []
    for (const means of ['inotify', 'fs.watch'] as const) {
      if (most === 'none' || (most === 'fs.watch' && means === 'inotify')) continue
      const hearing = means === 'inotify' ? this.#hearByInotify() : this.#hearByNode()
      if (typeof hearing !== 'string') {
        this.#hearing = hearing
        this.#settle(means, whys.join('; '))
        return
      }
      whys.push(`${means}: ${hearing}`)
    }
    this.#settle('none', whys.join('; '))
  }

  /** Says what changed about the means, once. */
  #settle(means: Means, want: string): void {
    const isNews = means !== this.#means || want !== this.#want
    const wasWanting = this.#want !== ''
    this.#means = means
    this.#want = want
    if (!isNews) return
    const fields = { folder: this.folder, means, ...(want === '' ? {} : { why: want }) }
    if (this.#watched === '') this.#parts.log.info('a folder to be watched is waited for', fields)
    else if (want !== '') this.#parts.log.warn('a folder cannot be watched as it should; polls make up for it', fields)
    else if (wasWanting) this.#parts.log.info('a folder is watched', fields)
  }

  #hearByInotify(): Disposable | string {
    const instance = theInstance()
    if (typeof instance === 'string') return instance
    return instance.watch(this.folder, {
      onName: (name) => this.#note(name),
      onOverflow: () => this.#tellDoubt('overflow'),
      onLost: () => this.#lose(),
      onFlood: () => {
        this.#tellDoubt('overflow')
        this.#isResting = true
        this.#lose()
      },
    })
  }

  #hearByNode(): Disposable | string {
    let watcher: FSWatcher
    try {
      watcher = watch(this.folder)
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? String(error)
    }
    const own = basename(this.folder)
    watcher.on('change', (_kind, name) => {
      if (String(name) === own)
        this.#lose() // so the folder's own end is told
      else this.#note(String(name))
    })
    watcher.on('error', () => this.#lose())
    return { [Symbol.dispose]: () => watcher.close() }
  }

  #note(name: string): void {
    if (this.#names.size < NAMES_MAX) this.#names.add(name)
    else this.#doubt = 'overflow'
    this.#schedule()
  }

  #tellDoubt(reason: 'overflow' | 'rewatched'): void {
    this.#doubt ??= reason
    this.#schedule()
  }

  /** The watch has ended, or is of no use: another one is made outside the callback that told so. */
  #lose(): void {
    this.#watched = ''
    this.#loop.nudge()
  }

  #drop(): void {
    this.#hearing?.[Symbol.dispose]()
    this.#hearing = null
    this.#watched = ''
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => this.#tell())
  }

  #tell(): void {
    this.#isScheduled = false
    const doubt = this.#doubt
    const names = [...this.#names]
    this.#doubt = null
    this.#names.clear()
    if (doubt !== null && !this.#closing.signal.aborted) this.#ears.onDoubt(doubt)
    if (names.length > 0 && !this.#closing.signal.aborted) this.#ears.onEvents(names)
  }
}

/** Which folder bears the name; null where there is none. The time of birth tells one that took over an inode. */
function identify(folder: string): string | null {
  try {
    const stats = statSync(folder, { throwIfNoEntry: false })
    return stats?.isDirectory() ? `${stats.dev}:${stats.ino}:${stats.birthtimeMs}` : null
  } catch {
    return null
  }
}

/** Told inside the native callback: they only take note. */
interface Ear {
  onName(name: string): void
  onOverflow(): void
  onLost(): void
  onFlood(): void
}

type Native = typeof native

/**
 * The one inotify instance of this process (a user may have 128), and the only code that touches the native module. It
 * keeps what that module demands: nothing is thrown and nothing closed inside its callback, close() is called once, the
 * overflow has its hook under -1, and a flood, which the module would read without ever giving way to the event loop,
 * is ended by removing the watch.
 */
class Instance {
  readonly #inotify: InstanceType<Native['Inotify']>
  readonly #bits: Native['Inotify']
  readonly #ears = new Map<number, Set<Ear>>()
  readonly #withheld: Disposable[]
  #events = 0
  #isOver = false

  constructor({ Inotify }: Native) {
    this.#bits = Inotify
    const before = inotifyDescriptors()
    this.#inotify = new Inotify()
    this.#withheld = inotifyDescriptors()
      .filter((each) => !before.includes(each))
      .map(withholdFromChildren)
    this.#inotify[-1] = this.#hear
  }

  /** Answers why not, where the kernel refuses. */
  watch(folder: string, ear: Ear): Disposable | string {
    const bits = this.#bits
    const changes = bits.IN_MODIFY | bits.IN_CREATE | bits.IN_DELETE | bits.IN_MOVED_FROM | bits.IN_MOVED_TO
    const own = bits.IN_DELETE_SELF | bits.IN_MOVE_SELF | bits.IN_ONLYDIR
    const descriptor = this.#inotify.addWatch({ path: folder, watch_for: changes | own, callback: this.#hear })
    this.#inotify[-1] = this.#hear // a refused watch has put its own there
    if (descriptor < 0) {
      this.#leaveIfIdle()
      return 'refused; the limit fs.inotify.max_user_watches may be reached, or the folder may not be read'
    }
    // The module deletes this when the watch ends, yet a writer on another processor may queue one more event after that.
    Object.defineProperty(this.#inotify, descriptor, { value: this.#hear, writable: true, configurable: false })
    const ears = this.#ears.get(descriptor) ?? new Set()
    this.#ears.set(descriptor, ears.add(ear))
    return { [Symbol.dispose]: () => this.#forget(descriptor, ear) }
  }

  /** Runs inside the native callback. */
  readonly #hear = ({ watch: descriptor, mask, name }: InotifyEvent): void => {
    const bits = this.#bits
    if ((mask & bits.IN_Q_OVERFLOW) !== 0) {
      for (const ears of this.#ears.values()) for (const ear of ears) ear.onOverflow()
      return
    }
    const ears = this.#ears.get(descriptor)
    if (ears === undefined) return
    if ((mask & (bits.IN_IGNORED | bits.IN_UNMOUNT | bits.IN_DELETE_SELF | bits.IN_MOVE_SELF)) !== 0) {
      if ((mask & bits.IN_IGNORED) !== 0) this.#ears.delete(descriptor) // the kernel has dropped it
      for (const ear of ears) ear.onLost()
    } else if (this.#isFlood()) {
      this.#remove(descriptor)
      for (const ear of ears) ear.onFlood()
    } else if (name !== undefined) {
      for (const ear of ears) ear.onName(name)
    }
  }

  #isFlood(): boolean {
    if (this.#events === 0) {
      setImmediate(() => {
        this.#events = 0
      })
    }
    this.#events += 1
    return this.#events > FLOOD_EVENTS
  }

  #forget(descriptor: number, ear: Ear): void {
    const ears = this.#ears.get(descriptor)
    if (ears?.delete(ear) && ears.size === 0) this.#remove(descriptor)
    this.#leaveIfIdle()
  }

  #remove(descriptor: number): void {
    this.#ears.delete(descriptor)
    try {
      this.#inotify.removeWatch(descriptor)
    } catch {
      // EINVAL: the kernel has dropped it already
    }
  }

  /** With nobody left to tell, the instance is given back; not at once, as this may be its own callback. */
  #leaveIfIdle(): void {
    setImmediate(() => {
      if (this.#isOver || this.#ears.size > 0) return
      this.#isOver = true
      if (instance === this) instance = undefined
      for (const each of this.#withheld) each[Symbol.dispose]()
      this.#inotify.close()
    })
  }
}

let instance: Instance | undefined

/** The instance, or why there is none. */
function theInstance(): Instance | string {
  if (instance !== undefined) return instance
  if (!isMainThread) return 'only in the main thread'
  try {
    const load = createRequire(import.meta.url)
    const loaded = load('node-inotify') as Native
    const refusal = askForInstance()
    if (refusal !== null) return refusal
    instance = new Instance(loaded)
    return instance
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'MODULE_NOT_FOUND' || message.startsWith('Could not locate'))
      return 'node-inotify was not compiled here'
    return code ?? message
  }
}

/**
 * Where a limit forbids another instance the native module would abort the process, uncatchably, and Node has no other
 * way to find out without keeping an instance for itself. tail(1) asks for one too, complains when it gets none, and
 * ends at once when told to follow a file only while a process lives that cannot exist.
 */
function askForInstance(): string | null {
  const asked = spawnSync('tail', ['-n0', '-f', '--pid=2147483647', process.execPath], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: 2_000,
  })
  if (asked.error !== undefined) return `cannot be tried out: ${asked.error.message}`
  if (asked.status === 0 && asked.stderr.length === 0) return null
  return 'refused; the limit fs.inotify.max_user_instances may be reached'
}

function inotifyDescriptors(): number[] {
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((descriptor) => {
      try {
        return readlinkSync(`/proc/self/fd/${descriptor}`) === 'anon_inode:inotify'
      } catch {
        return false // the one that listed the folder
      }
    })
}
