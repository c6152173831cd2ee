import { identityFile, type Membership, readIdentity } from '#identity/identity-file.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import type { Joined } from '../join-fleet.ts'
import type { BringUp } from './bring-up.ts'
import type { ThisHost } from './host-roles.ts'
import { runS2, type S2Answer } from './run-s2.ts'
import type { Todo } from './todo.ts'

/** The fleet that this host's worker belongs to, or asks to join; null where there is none. */
export async function ownMembership({ worker, set }: ThisHost): Promise<Membership | null> {
  if (worker === null) return null
  // Keys that cannot be used are told by the step that needs them.
  const identity = await readIdentity(set.S2_IDENTITY ?? identityFile(worker.state)).catch(() => null)
  return identity?.membership ?? null
}

/** Lets this host's worker join by an invitation. Answers whether it is in the fleet now. */
export async function joinHost(bringUp: BringUp, line: string, isForced: boolean): Promise<boolean> {
  const { dialogue, host, todos } = bringUp
  if (host.worker === null) return false
  const args = ['worker', 'join', '-', ...(isForced ? ['--force'] : [])]
  const { said, failure } = await runS2(bringUp, host.worker, args, line)
  const joined = said as Joined | null
  if (joined?.way === 'bridge' && joined.isAdmitted) {
    dialogue.say(`this host has joined as ${joined.agent}`)
    return true
  }
  todos.push(joined === null ? failed(bringUp, failure) : stepAfter(joined, host))
  return false
}

/** What is left to do for a worker without an invitation. */
export function joinLeft({ role, command, workerCommand }: ThisHost): Todo {
  return role === 'both'
    ? {
        what: 'let this host join its own fleet as a worker',
        commands: [`${command} worker invite N --role ROLE | ${workerCommand} worker join -`],
      }
    : {
        what: 'join the fleet, by the line that `s2 worker invite` prints on the orchestrator’s host',
        commands: [`${workerCommand} worker join`],
      }
}

function failed({ dialogue, host }: BringUp, failure: S2Answer['failure']): Todo {
  const { message, next } = failure ?? { message: 'it said nothing', next: undefined }
  dialogue.say(message, ...(next === undefined ? [] : [`next: ${next}`]))
  return {
    what: `join the fleet: ${message}${next === undefined ? '' : `: ${next}`}`,
    commands: [`${host.workerCommand} worker join`],
    isFailure: true,
  }
}

/** What others have to do about a request that was made and not admitted yet; this host needs to do nothing more. */
function stepAfter(joined: Joined, { workerCommand }: ThisHost): Todo {
  const { way, agent } = joined
  if (way === 'line')
    return {
      what: `neither bridge nor git remote took the request of ${agent}: on the orchestrator’s host, paste the last line where it is asked for`,
      commands: ['sudo s2 worker admit', joined.line],
    }
  return way === 'git'
    ? {
        what: `the bridge does not answer from here, so the request of ${agent} lies at the git remote: the orchestrator’s host admits it within a minute or so; then see whether this host is in the fleet`,
        commands: [`${workerCommand} health`],
      }
    : {
        what: `the bridge has the request of ${agent}, and nobody has admitted it: on the orchestrator’s host, start s2-cred-sync`,
        commands: ['sudo systemctl start s2-cred-sync'],
      }
}

const CONNECTING_MS = 30_000
const LOOK_MS = 500

/** Waits up to 30 s until this host's worker is connected. Past that, its troubles are added to what is left to do. */
export async function waitUntilConnected({ context, dialogue, host, todos }: BringUp): Promise<void> {
  const { worker } = host
  if (worker === null) return
  const until = context.clock.now() + CONNECTING_MS
  const health = async (program: 'keepalive' | 'cred-sync') =>
    await askHealth(program, { path: healthSocket(worker.state, program) }, context.clock)
  for (;;) {
    const keepalive = await health('keepalive')
    if (keepalive.ready && /^[1-9].*\b(connected|linked|polling)\b/.test(keepalive.status))
      return dialogue.say(`this host is in the fleet: ${keepalive.status}`)
    if (context.clock.now() > until) {
      const why = [keepalive, await health('cred-sync')].flatMap(troublesOf)
      dialogue.say(`not in the fleet after ${CONNECTING_MS / 1_000} s`, ...why)
      todos.push({
        what: `this host is not in the fleet yet: ${why.join('; ')}`,
        commands: [`${host.workerCommand} health`],
      })
      return
    }
    await context.clock.sleep(LOOK_MS, dialogue.signal).catch(() => undefined)
    dialogue.throwIfInterrupted()
  }
}

function troublesOf({ program, status, troubles }: Awaited<ReturnType<typeof askHealth>>): string[] {
  const told = Object.values(troubles)
  return (told.length > 0 ? told : [status]).map((why) => `${program}: ${why}`)
}
