import { S2Error } from '#fleet/errors.ts'
import type { Shell } from '#console/context.ts'
import { stateFolder } from '#console/state-folder.ts'
import { type Act, askControl } from '#console/fleet-control.ts'

/** Has the `s2 up` of this state folder freeze, thaw or kill one of its agents; `done` says what became of it. */
export async function commandMember(
  act: Act,
  agent: string,
  done: (processes: number) => string,
  json: boolean,
  shell: Shell,
): Promise<void> {
  const state = stateFolder(shell)
  const answer = await askControl(state, 'POST', `/${act}`, { agent })
  if (answer === null) {
    throw new S2Error('unavailable', `no local fleet runs with the state folder ${state}`, {
      next: 'start one with `s2 up FLEET.json`, or set S2_STATE to the folder of the one that runs',
    })
  }
  const { processes } = answer as { processes: number }
  if (json) shell.print(`${JSON.stringify({ agent, act, processes })}\n`)
  else shell.print(`${agent} ${done(processes)}\n`)
}
