/** What the bench says to a process that makes load, and hears from it. */
export type Word =
  | { readonly t: 'job'; readonly job: unknown }
  | { readonly t: 'ready'; readonly order: unknown }
  | { readonly t: 'go' }

export interface Reply {
  readonly round?: LoadRound
  readonly error?: string
}

export interface LoadRound {
  /** One for each act that was acknowledged. */
  readonly latenciesMs: Float64Array
  readonly tookMs: number
  /** CPU time of the load itself. */
  readonly cpuMs: number
}

/** Connects for a job; then, for each order, makes all ready and answers what does it. */
type Connect<J, O> = (job: J) => Promise<(order: O) => Promise<() => Promise<Float64Array>>>

/** Takes words one by one from the process that started this one, and ends with it. */
export function serve<J, O>(connect: Connect<J, O>): void {
  let ready: ((order: O) => Promise<() => Promise<Float64Array>>) | undefined
  let go: (() => Promise<Float64Array>) | undefined
  const follow = async (word: Word): Promise<Reply> => {
    if (word.t === 'job') ready = await connect(word.job as J)
    if (word.t === 'ready') go = await ready?.(word.order as O)
    if (word.t !== 'go' || go === undefined) return {}
    return { round: await measured(go) }
  }
  process.on('message', (word: Word) => {
    follow(word)
      .catch((error: unknown): Reply => ({ error: error instanceof Error ? (error.stack ?? '') : String(error) }))
      .then((reply) => process.send?.(reply))
      .catch(() => process.exit(1))
  })
  process.on('disconnect', () => process.exit(0))
}

async function measured(go: () => Promise<Float64Array>): Promise<LoadRound> {
  const before = process.cpuUsage()
  const start = performance.now()
  const latenciesMs = await go()
  const tookMs = performance.now() - start
  const { user, system } = process.cpuUsage(before)
  return { latenciesMs, tookMs, cpuMs: (user + system) / 1000 }
}
