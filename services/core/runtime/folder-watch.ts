import { type FSWatcher, statSync, watch } from 'node:fs'
import { basename } from 'node:path'
import type { Clock } from './clock.ts'
import { type Change, openInotify } from './inotify.ts'
import type { Log } from './log.ts'
import { Loop } from './loop.ts'

/** The source of events: one of two interfaces of the kernel, or none, where the watcher has to poll. */
export type Means = 'inotify' | 'fs.watch' | 'none'

export interface FolderListener {
  /**
   * Names in the folder that were made, written, moved or removed, each once, and those of them that were not only written.
   * They are hints: never count them.
   */
  onEvents(names: readonly string[], entries: ReadonlySet<string>): void
  /** Events may be lost, or the folder is another one: read the whole folder. */
  onDoubt(reason: 'overflow' | 'rewatched'): void
}

export interface FolderWatch extends Disposable {
  readonly folder: string
  /** The present source of events; 'none' also while the folder is missing. */
  readonly means: Means
}

export interface WatchParts {
  readonly clock: Clock
  readonly log: Pick<Log, 'info' | 'warn'>
  /** The best means to use. Default: inotify. */
  readonly means?: Means
}

/** How often the watched folder is compared with the present one: an ancestor may have been renamed. */
const CHECK_MS = 1_000
/** How often a missing folder is looked for. */
const MISSING_MS = 250
/** How often better means are tried again after a limit of the system refused them. */
const BETTER_MS = 60_000
/** How long a folder with a flood of events is not watched. */
const FLOOD_REST_MS = 25
/** Most distinct names kept between two reports. */
const NAMES_MAX = 10_000

const watches = new Set<FolderWatch>()

/** The watches of this process, for its health report. */
export function watchesInForce(): FolderWatch[] {
  return [...watches]
}

/**
 * Reports changes in a folder until disposed, outside the native callback and in the same turn of the event loop. Changes
 * before it returns are not reported: watch, then read. A folder that is missing, removed, replaced or renamed is watched
 * again once it is there. Where the kernel's limits forbid watching, the log says so, and the owner has to poll.
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
  /** Why there are no better means; empty with the best ones. */
  #want = ''
  #watcher: Disposable | null = null
  /** The identity of the folder that was last tried; empty to try again. */
  #watched = ''
  #betterAt = 0
  #isResting = false
  #names = new Set<string>()
  #entries = new Set<string>()
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

  /** Watches the folder that has the path now. Answers milliseconds until the next check. */
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

  /** Logs a change of the means, once. */
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
      onName: (name, change) => this.#note(name, change),
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
    watcher.on('change', (kind, name) => {
      if (String(name) === own)
        this.#lose() // an event with the folder's own name reports its end
      else this.#note(String(name), kind === 'change' ? 'written' : 'entry')
    })
    watcher.on('error', () => this.#lose())
    return { [Symbol.dispose]: () => watcher.close() }
  }

  #note(name: string, change: Change): void {
    if (this.#names.size < NAMES_MAX) {
      this.#names.add(name)
      if (change === 'entry') this.#entries.add(name)
    } else this.#doubt = 'overflow'
    this.#schedule()
  }

  #reportDoubt(reason: 'overflow' | 'rewatched'): void {
    this.#doubt ??= reason
    this.#schedule()
  }

  /** The watch has ended: the loop makes another one, outside the native callback. */
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
    const entries = this.#entries
    this.#names.clear()
    this.#entries = new Set()
    if (doubt !== null && !this.#closing.signal.aborted) this.#listener.onDoubt(doubt)
    if (names.length > 0 && !this.#closing.signal.aborted) this.#listener.onEvents(names, entries)
  }
}

/** The identity of the folder; null where there is none. The birth time distinguishes a folder that got a used inode. */
function identify(folder: string): string | null {
  try {
    const stats = statSync(folder, { throwIfNoEntry: false })
    return stats?.isDirectory() ? `${stats.dev}:${stats.ino}:${stats.birthtimeMs}` : null
  } catch {
    return null
  }
}
