import { join } from 'node:path'
import { InvalidArgumentError } from 'commander'
import { quoted } from '#console/shell-quote.ts'
import { storeParts } from '#console/store-access.ts'
import { workerName } from '#fleet/credential.ts'
import { openStore } from '#store/open-store.ts'
import { count, role as roleName } from '../option-parsers.ts'
import type { BringUp } from './bring-up.ts'
import type { Dialogue } from './dialogue.ts'
import type { ThisHost } from './host-roles.ts'
import { runS2 } from './run-s2.ts'
import type { Todo } from './todo.ts'

/** A worker to invite: its number, and the kind of work that it does. */
export interface WorkerToInvite {
  readonly number: number
  readonly role: string
}

/** Reads `3:backend`. */
export function workerToInvite(text: string): WorkerToInvite {
  const cut = text.indexOf(':')
  if (cut < 1) throw new InvalidArgumentError('It must be a number and a role, such as 3:backend.')
  return { number: count(text.slice(0, cut)), role: roleName(text.slice(cut + 1)) }
}

interface InvitationsWanted {
  /** The workers that options name; undefined: a person is asked. */
  readonly given: readonly WorkerToInvite[] | undefined
  /** Whether the first of them is this host's own worker, which has not joined yet. */
  readonly needsOwn: boolean
  /** Whether a worker that has joined is invited again, so that another host takes its place. */
  readonly isForced: boolean
}

/**
 * Invites the workers that options or answers name, and lists the steps on their hosts. Answers the line of this host's own
 * worker; null where there is none.
 */
export async function inviteWorkers(
  bringUp: BringUp,
  { given, needsOwn, isForced }: InvitationsWanted,
): Promise<string | null> {
  const { dialogue, todos, host } = bringUp
  const known = await workersOf(bringUp)
  let own: string | null = null
  let isOwn = needsOwn
  for (const worker of given ?? (await askWorkers(dialogue, needsOwn))) {
    const agent = workerName(worker.number)
    if (known.get(agent) === true && !isForced) {
      dialogue.say(`${agent} is in the fleet already`)
      continue
    }
    known.set(agent, false)
    const line = await invite(bringUp, worker)
    if (isOwn) own = line
    else if (line !== null) todos.push(stepsOn(agent, line, host))
    isOwn = false
  }
  if (known.size === 0 && !needsOwn)
    todos.push({ what: 'invite each worker', commands: [`${host.command} worker invite N --role ROLE`] })
  return own
}

/** What is left to do about workers while the services do not run. */
export function invitationsLeft({ command }: ThisHost, given: readonly WorkerToInvite[] = []): Todo {
  const options = given.map(({ number, role }) => ` --worker ${quoted(`${number}:${role}`)}`).join('')
  const again = options === '' ? `${command} worker invite N --role ROLE` : `${command} init${options}`
  return { what: 'invite each worker, once the services run', commands: [again] }
}

/**
 * The line is pasted where `s2 init` asks for it: in a command it would stand in the list of processes and in the history
 * of the shell.
 */
function stepsOn(agent: string, line: string, { services }: ThisHost): Todo {
  const [install, init] = services.isOfMachine
    ? ['sudo make install ROLE=worker', 'sudo s2 init --role worker']
    : ['make install-user ROLE=worker', 's2 init --role worker']
  const what = `on the host of ${agent}, in a checkout, within an hour; the last line is pasted where s2 init asks for it`
  return { what, commands: [install, init], invitation: line }
}

/** Invites one worker by `s2 worker invite`. Answers its line; null where that failed, which is then left to do. */
async function invite(bringUp: BringUp, { number, role }: WorkerToInvite): Promise<string | null> {
  const { dialogue, host, todos } = bringUp
  if (host.orchestrator === null) return null
  const args = ['worker', 'invite', String(number), `--role=${role}`]
  const { said, failure } = await runS2(bringUp, host.orchestrator, args)
  if (failure === null) return (said as { line: string }).line
  const { message, next } = failure
  dialogue.say(message, ...(next === undefined ? [] : [`next: ${next}`]))
  todos.push({
    what: `invite ${workerName(number)}: ${message}`,
    commands: [`${host.command} worker invite ${number} --role ${quoted(role)}`],
    isFailure: true,
  })
  return null
}

/** The workers that belong to the fleet, or are invited to it, and whether each has joined. */
async function workersOf({ context, host }: BringUp): Promise<Map<string, boolean>> {
  if (host.orchestrator === null) return new Map()
  const socket = join(host.orchestrator.state, 'run', 'admin.sock')
  await using store = await openStore(`unix:${socket}`, storeParts(context))
  const workers = (await store.workers()).filter(({ revokedAt }) => revokedAt === null)
  return new Map(workers.map(({ agent, joinedAt }) => [agent, joinedAt !== null]))
}

async function askWorkers(dialogue: Dialogue, needsOwn: boolean): Promise<WorkerToInvite[]> {
  const wanted: WorkerToInvite[] = []
  while (dialogue.canAsk) {
    const which = needsOwn ? 'Which worker is this host itself' : 'Which worker do you want to invite'
    const question =
      wanted.length === 0 ? `${which}, as number:role (1:backend)? Empty: none now. ` : 'Another one? Empty: no. '
    const answer = await dialogue.ask(question, faultOf)
    if (answer === '') break
    wanted.push(workerToInvite(answer))
  }
  return wanted
}

function faultOf(answer: string): string | null {
  try {
    if (answer !== '') workerToInvite(answer)
    return null
  } catch (error) {
    return (error as Error).message
  }
}
