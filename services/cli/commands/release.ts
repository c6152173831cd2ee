import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { type ReachedFleet, reachFleet } from '#console/store-access.ts'
import { plain } from '#console/terminal-text.ts'
import { agentsOf } from '#fleet/conversation.ts'
import type { ReservationChoice } from '#fleet/reservation.ts'
import { type SessionId, sideOf } from '#fleet/session-id.ts'
import { globsHere, repositoryHere } from '#git/files-here.ts'
import { keepListOrWarn } from '../reservations/keep-list-or-warn.ts'
import { selfOf } from '../reservations/own-session.ts'

const EXAMPLES = `
Examples:
  s2 release src/store/                     as it was reserved
  s2 release --all                          all that this agent has, in every repository
  s2 release --all --as s2-worker-3         an orchestrator: what another has; it is told`

interface ReleaseOptions {
  readonly all?: true
  readonly repo?: string
  readonly as?: string
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument('[glob...]', 'as they were reserved')
    .option('--all', 'all that the agent has')
    .option('--repo <name>', 'the name of the repository; with --all only there')
    .option('--as <agent>', 'the agent that has them, or its session')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (globs: string[], options: ReleaseOptions) => {
      if (globs.length > 0 === (options.all === true))
        throw new UsageError('say which files, or --all', 's2 release src/store/, or s2 release --all')
      await release(context, await choiceOf(context, globs, options), options)
    })
}

async function choiceOf(
  context: CommandContext,
  typed: readonly string[],
  { repo }: ReleaseOptions,
): Promise<ReservationChoice> {
  if (typed.length === 0) return { repository: repo === undefined ? null : [repo], globs: null }
  const here = await repositoryHere(context.folder, context, repo)
  return { repository: here.repository, globs: globsHere(typed, here) }
}

async function release(context: CommandContext, which: ReservationChoice, options: ReleaseOptions): Promise<void> {
  await using reached = await reachFleet(context)
  const self = await holderOf(reached, context, options.as)
  const released = await reached.store.releaseFiles(self, which)
  await keepListOrWarn(context, reached.store)
  if (options.json === true) return context.print(`${JSON.stringify(released, null, 2)}\n`)
  for (const { agent, glob } of released) context.print(`${plain(`${agent} released ${JSON.stringify(glob)}`)}\n`)
  if (released.length > 0) return
  context.print('nothing was released: this agent has reserved nothing of that; `s2 reservations` shows who has what\n')
}

/** The agent of this host, or for an orchestrator another one of its fleet. */
async function holderOf(reached: ReachedFleet, context: CommandContext, named?: string): Promise<SessionId> {
  const led = named === undefined ? [] : agentsOf(await reached.store.conversations())
  const sessions = led.find(({ name, sessions }) => name === named || sessions.some((each) => each === named))?.sessions
  const of = sessions?.find((each) => each === named) ?? sessions?.find((each) => sideOf(each) === 'b') ?? sessions?.[0]
  return of ?? (await selfOf(reached, context, named)).session
}
