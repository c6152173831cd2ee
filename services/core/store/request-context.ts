import { AsyncLocalStorage } from 'node:async_hooks'

/** The request that a verb is called for, as the audit trail names it. */
export interface RequestContext {
  readonly id: string | null
  /** When it came, by the monotonic clock. */
  readonly since: number
}

/** The promise of `Store` speaks of the fleet alone, so who asked goes beside its arguments. */
const contexts = new AsyncLocalStorage<RequestContext>()

/** Calls verbs for a request: what they do is audited with its id and with the time since it came. */
export function withinRequest<T>(context: RequestContext, call: () => T): T {
  return contexts.run(context, call)
}

export function currentRequest(): RequestContext | undefined {
  return contexts.getStore()
}

/** How long the request has taken until now, in tenths of a millisecond. */
export function latencyOf({ since }: RequestContext, now: number): number {
  return Math.max(0, Math.round((now - since) * 10) / 10)
}
