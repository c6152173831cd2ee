import type { Clock } from '#runtime/clock.ts'
import type { WakeAdapter } from './adapter.ts'
import { codexQueue, codexTurn } from './codex-turn.ts'
import { desktop, webhook } from './for-people.ts'
import { inboxSocket } from './inbox-socket.ts'
import { resumedSession } from './resumed-session.ts'
import { rewakeWaiter } from './rewake-waiter.ts'
import { tmuxPane } from './tmux-pane.ts'

export interface WakeParts {
  readonly clock: Clock
  /** The state folder of this host. */
  readonly state: string
  /** The environment for commands. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly webhook: Parameters<typeof webhook>[0]
}

/** Every way to wake an agent that needs no command of its owner's, the strongest first. */
export function wakeAdapters({ clock, state, env, webhook: target }: WakeParts): WakeAdapter[] {
  return [
    inboxSocket(),
    rewakeWaiter(state, clock),
    codexTurn(),
    codexQueue({ clock }),
    tmuxPane({ clock, env }),
    resumedSession({ clock, env }),
    webhook(target),
    desktop(clock, env),
  ]
}
