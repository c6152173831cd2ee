import { isRunningHere, type NamespacedProcess } from '#runtime/process-life.ts'

/** Who takes messages from a host's inbox, as far as that is known. */
export interface MessageTaker {
  /** The session of a client or the like; null where nobody knows. */
  readonly by: string | null
  /** The process that it lives in; null where none is known. */
  readonly process: NamespacedProcess | null
}

/** Somebody at a shell. Two of them cannot be told apart. */
export const SOMEBODY: MessageTaker = { by: null, process: null }

/** Whether a taker lives, as this process can see: nobody knows of one without a process, and of one in another namespace. */
export function lifeOf({ process }: MessageTaker): 'alive' | 'dead' | 'unknown' {
  const isSeen = process === null ? null : isRunningHere(process)
  return isSeen === null ? 'unknown' : isSeen ? 'alive' : 'dead'
}

/** Whether it is one life of one taker. A session of a client that was resumed after a crash is another one. */
export function isSameTaker(one: MessageTaker, other: MessageTaker): boolean {
  const [here, there] = [one.process, other.process]
  if (here === null || there === null) return here === there && one.by === other.by
  const isSameProcess = here.pid === there.pid && here.startTicks === there.startTicks
  return isSameProcess && here.namespace === there.namespace && one.by === other.by
}
