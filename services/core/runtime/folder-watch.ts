import { type FSWatcher, statSync, watch } from 'node:fs'
import { basename } from 'node:path'
import type { Clock } from './clock.ts'
import { openInotify } from './inotify.ts'
import type { Log } from './log.ts'
import { Loop } from './loop.ts'

/** What tells of changes: the kernel by either of two roads, or nothing but the polls of whoever watches. */
export type Means = 'inotify' | 'fs.watch' | 'none'

export interface FolderListener {
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
/** How long a folder with a flood of events is left alone. */
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
export function watchFolder(folder: string, listener: FolderListener, parts: WatchParts): FolderWatch {
  const one = new Watch(folder, listener, parts)
  watches.add(one)
  return one
}

class Watch implements FolderWatch {
  readonly folder: string
  readonly #listener: FolderListener
  readonly #parts: WatchParts
  readonly #closing = new AbortController()
  readonly #loop: Loop
  #means: Means = 'none'
  /** Why there are no better means; empty where there is nothing to want. */
  #want = ''
  #watcher: Disposable | null = null
  /** The folder that was last tried; empty when another try is wanted. */
  #watched = ''
  #betterAt = 0
  #isResting = false
  #names = new Set<string>()
  #doubt: 'overflow' | 'rewatched' | null = null
  #isScheduled = false

  constructor(folder: string, listener: FolderListener, parts: WatchParts) {
    this.folder = folder
    this.#listener = listener
    this.#parts = parts
    this.#look('first')
    this.#loop = new Loop({
      clock: parts.clock,
      signal: this.#closing.signal,
      step: async () => this.#look('again'),
      onError: (error) => {
        parts.log.warn('folder watch failed', { folder, error })
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
    if (time === 'again' && this.#watcher !== null) this.#reportDoubt('rewatched')
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
      const watcher = means === 'inotify' ? this.#watchByInotify() : this.#watchByNode()
      if (typeof watcher !== 'string') {
        this.#watcher = watcher
        this.#settle(means, whys.join('; '))
        return
      }
      whys.push(`${means}: ${watcher}`)
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
    if (this.#watched === '') this.#parts.log.info('folder missing, waiting for it', fields)
    else if (want !== '') this.#parts.log.warn('folder watch degraded, polling instead', fields)
    else if (wasWanting) this.#parts.log.info('folder watched', fields)
  }

  #watchByInotify(): Disposable | string {
    const inotify = openInotify()
    if (typeof inotify === 'string') return inotify
    return inotify.watch(this.folder, {
      onName: (name) => this.#note(name),
      onOverflow: () => this.#reportDoubt('overflow'),
      onLost: () => this.#lose(),
      onFlood: () => {
        this.#reportDoubt('overflow')
        this.#isResting = true
        this.#lose()
      },
    })
  }

  #watchByNode(): Disposable | string {
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

  #reportDoubt(reason: 'overflow' | 'rewatched'): void {
    this.#doubt ??= reason
    this.#schedule()
  }

  /** The watch has ended, or is of no use: another one is made outside the callback that told so. */
  #lose(): void {
    this.#watched = ''
    this.#loop.nudge()
  }

  #drop(): void {
    this.#watcher?.[Symbol.dispose]()
    this.#watcher = null
    this.#watched = ''
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => this.#report())
  }

  #report(): void {
    this.#isScheduled = false
    const doubt = this.#doubt
    const names = [...this.#names]
    this.#doubt = null
    this.#names.clear()
    if (doubt !== null && !this.#closing.signal.aborted) this.#listener.onDoubt(doubt)
    if (names.length > 0 && !this.#closing.signal.aborted) this.#listener.onEvents(names)
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
