import { answerHook, SILENCE } from '#agents/answer-hook.ts'
import { type HookDoor, readHookDoor } from '#agents/hook-door.ts'
import type { HookEvent } from '#agents/hook-event.ts'
import type { Clock } from '#runtime/clock.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import type { Life } from '#runtime/run.ts'
import { TroubleLog } from '#runtime/trouble-log.ts'
import { codeOf } from '#spool/quarantine.ts'
import type { ClientSessions } from './client-sessions.ts'
import { serveHooks } from './hook-server.ts'

/** How often it is looked whether a person asks for the door. */
const LOOK_MS = 2_000

/** Answers hooks over HTTP while a person asks for it, until the program drains: as `s2 hook` does, without a process for each event. */
export function answerOverHttp(
  state: string,
  clients: ClientSessions,
  {
    clock,
    chance,
    log,
    health,
    draining,
    stack,
  }: Pick<Life, 'clock' | 'chance' | 'log' | 'health' | 'draining' | 'stack'>,
): void {
  const troubles = new TroubleLog({ log, health })
  const open = new OpenDoor((event) => tell(state, clients, event, { clock, troubles }))
  const loop = new RetryLoop({
    clock,
    chance,
    signal: draining,
    step: async () => {
      await open.follow(await readHookDoor(state))
      return LOOK_MS
    },
    onTrouble: (error) => troubles.threw('hooks', error),
    onWell: () => troubles.over('hooks'),
  })
  stack.defer(async () => {
    await loop.done
    await open.follow(null)
  })
}

/** Takes an event, and answers it. Where no answer can be found the client is told nothing, and its turn goes on. */
async function tell(
  state: string,
  clients: ClientSessions,
  event: HookEvent,
  { clock, troubles }: { readonly clock: Clock; readonly troubles: TroubleLog },
): Promise<string> {
  const at = clock.wall()
  let answer = SILENCE
  try {
    answer = await answerHook(state, event, clients.find(event)?.session ?? null, at)
    troubles.over('hook answers')
  } catch (error) {
    // the agent's own user may spoil these folders: that is no fault of keepalive
    troubles.met('hook answers', codeOf(error), (error as Error).message, error, 'light')
  }
  clients.hear({ event, facts: null, at, isBlocked: answer.isBlocked })
  return answer.text
}

/** The door as it is open now; null where none is. */
class OpenDoor {
  readonly #listener: (event: HookEvent) => Promise<string>
  #open: { readonly door: HookDoor; readonly server: AsyncDisposable } | null = null

  constructor(listener: (event: HookEvent) => Promise<string>) {
    this.#listener = listener
  }

  async follow(wanted: HookDoor | null): Promise<void> {
    const { door } = this.#open ?? {}
    if (door?.port === wanted?.port && door?.secret === wanted?.secret) return
    await this.#open?.server[Symbol.asyncDispose]()
    this.#open = null
    if (wanted !== null) this.#open = { door: wanted, server: await serveHooks(wanted, this.#listener) }
  }
}
