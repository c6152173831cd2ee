import type { CommandContext } from '#console/context.ts'
import { type AgentAction, askControl } from '#console/fleet-control.ts'
import { fleetAbove, stateFolder } from '#console/state-folder.ts'
import { S2Error } from '#fleet/errors.ts'

/** Asks the `s2 up` of this state folder to freeze, thaw or kill one of its agents; `done` words the result. */
export async function controlAgent(
  act: AgentAction,
  agent: string,
  done: (processes: number) => string,
  json: boolean,
  context: CommandContext,
): Promise<void> {
  const state = stateFolder(context)
  const answer = await askControl(state, { method: 'POST', path: `/${act}`, body: { agent } }, context.clock)
  if (answer === null) {
    throw new S2Error('unavailable', `no local fleet runs with the state folder ${state}`, {
      next: fleetAbove(context) ?? 'start one with `s2 up FLEET.json`, or set S2_STATE to the folder of a running one',
    })
  }
  const { processes } = answer as { processes: number }
  if (json) context.print(`${JSON.stringify({ agent, act, processes })}\n`)
  else context.print(`${agent} ${done(processes)}\n`)
}
