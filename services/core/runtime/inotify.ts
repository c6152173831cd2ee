import { spawnSync } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isMainThread } from 'node:worker_threads'
import type native from 'node-inotify'
import type { InotifyEvent } from 'node-inotify'
import { withholdFromChildren } from './fd-inheritance.ts'

/** More events than this in one turn of the event loop are a flood: the watch is removed for a moment. */
const FLOOD_EVENTS = 4_000

/** What happened to a name in a folder: its file was written, or it was made, moved or removed. */
export type Change = 'written' | 'entry'

/** Gets the events of one folder, inside the native callback: it may only record them. */
export interface InotifyListener {
  onName(name: string, change: Change): void
  onOverflow(): void
  onLost(): void
  onFlood(): void
}

type Native = typeof native

/**
 * The one inotify instance of this process (a user may have 128), and the only code that uses the native module. The module
 * demands that nothing is thrown or closed inside its callback, that close() is called once, and that the callback for an
 * overflow stands under -1. It reads a flood without yielding to the event loop, so a flood is ended by removing the watch.
 */
class Inotify {
  readonly #inotify: InstanceType<Native['Inotify']>
  readonly #bits: Native['Inotify']
  readonly #listeners = new Map<number, Set<InotifyListener>>()
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

  /** Watches a folder until disposed; answers the reason where the kernel refuses. */
  watch(folder: string, listener: InotifyListener): Disposable | string {
    const bits = this.#bits
    const changes = bits.IN_MODIFY | bits.IN_CREATE | bits.IN_DELETE | bits.IN_MOVED_FROM | bits.IN_MOVED_TO
    const own = bits.IN_DELETE_SELF | bits.IN_MOVE_SELF | bits.IN_ONLYDIR
    const descriptor = this.#inotify.addWatch({ path: folder, watch_for: changes | own, callback: this.#hear })
    this.#inotify[-1] = this.#hear // a refused watch has replaced it
    if (descriptor < 0) {
      this.#leaveIfIdle()
      return 'refused; the limit fs.inotify.max_user_watches may be reached, or the folder may not be read'
    }
    // The module deletes this when the watch ends, but another processor may queue one more event after that.
    Object.defineProperty(this.#inotify, descriptor, { value: this.#hear, writable: true, configurable: false })
    const listeners = this.#listeners.get(descriptor) ?? new Set()
    this.#listeners.set(descriptor, listeners.add(listener))
    return { [Symbol.dispose]: () => this.#forget(descriptor, listener) }
  }

  /** Runs inside the native callback. */
  readonly #hear = ({ watch: descriptor, mask, name }: InotifyEvent): void => {
    const bits = this.#bits
    if ((mask & bits.IN_Q_OVERFLOW) !== 0) {
      for (const listeners of this.#listeners.values()) for (const listener of listeners) listener.onOverflow()
      return
    }
    const listeners = this.#listeners.get(descriptor)
    if (listeners === undefined) return
    if ((mask & (bits.IN_IGNORED | bits.IN_UNMOUNT | bits.IN_DELETE_SELF | bits.IN_MOVE_SELF)) !== 0) {
      if ((mask & bits.IN_IGNORED) !== 0) this.#listeners.delete(descriptor) // the kernel has dropped it
      for (const listener of listeners) listener.onLost()
    } else if (this.#isFlood()) {
      this.#remove(descriptor)
      for (const listener of listeners) listener.onFlood()
    } else if (name !== undefined) {
      const change = (mask & bits.IN_MODIFY) === 0 ? 'entry' : 'written'
      for (const listener of listeners) listener.onName(name, change)
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

  #forget(descriptor: number, listener: InotifyListener): void {
    const listeners = this.#listeners.get(descriptor)
    if (listeners?.delete(listener) && listeners.size === 0) this.#remove(descriptor)
    this.#leaveIfIdle()
  }

  #remove(descriptor: number): void {
    this.#listeners.delete(descriptor)
    try {
      this.#inotify.removeWatch(descriptor)
    } catch {
      // EINVAL: the kernel has dropped it already
    }
  }

  /** Closes the instance without listeners; not at once, because this may be its own callback. */
  #leaveIfIdle(): void {
    setImmediate(() => {
      if (this.#isOver || this.#listeners.size > 0) return
      this.#isOver = true
      if (instance === this) instance = undefined
      for (const each of this.#withheld) each[Symbol.dispose]()
      this.#inotify.close()
    })
  }
}

let instance: Inotify | undefined

/** The instance of this process, made on first use; or the reason why there is none. */
export function openInotify(): Inotify | string {
  if (instance !== undefined) return instance
  if (!isMainThread) return 'only in the main thread'
  try {
    const load = createRequire(import.meta.url)
    const loaded = load('node-inotify') as Native
    const refusal = refusalOfInstance()
    if (refusal !== null) return refusal
    instance = new Inotify(loaded)
    return instance
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'MODULE_NOT_FOUND' || message.startsWith('Could not locate'))
      return 'node-inotify was not compiled here'
    return code ?? message
  }
}

/**
 * At the limit of instances the native module would abort the process, and Node has no other way to test it without keeping
 * an instance. tail(1) opens one too, complains when it gets none, and ends at once when it follows a file only while a
 * process lives that cannot exist. Answers the refusal, or null.
 */
function refusalOfInstance(): string | null {
  const asked = spawnSync('tail', ['-n0', '-f', '--pid=2147483647', process.execPath], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: 2_000,
  })
  if (asked.error !== undefined) return `cannot be tested: ${asked.error.message}`
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
        return false // the descriptor that listed the folder
      }
    })
}
