import { hostname } from 'node:os'
import type { CommandContext } from '#console/context.ts'
import { commandEnv } from '#console/state-folder.ts'
import { isPassing, S2Error } from '#fleet/errors.ts'
import { JOIN_REQUEST_MAX } from '#fleet/worker.ts'
import { GitPublisher } from '#git/git-publisher.ts'
import { askOutcome, submitRequest } from '#identity/bridge-mailbox.ts'
import { type HostIdentity, identityFile, makeIdentity, readIdentity, writeIdentity } from '#identity/identity-file.ts'
import {
  formatJoinRequest,
  type Invitation,
  isInvitationBegun,
  makeJoinRequest,
  parseInvitation,
} from '#identity/joining.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { hintCredentials } from '#spool/credential-hint.ts'
import { readCredentials } from '#spool/credentials.ts'

/** How a host's request to join left it, and what became of it. */
export type Joined =
  | { readonly way: 'bridge'; readonly agent: string; readonly isAdmitted: boolean }
  | { readonly way: 'git'; readonly agent: string; readonly remote: string }
  | { readonly way: 'line'; readonly agent: string; readonly line: string; readonly why: readonly string[] }

/** The orchestrator's host judges a request within seconds, unless its cred-sync is away. */
const ADMITTED_WITHIN_MS = 60_000
const ASK_AGAIN_MS = 500

/** An invitation, as a person gives it: the argument, standard input, or a pasted line. */
export async function readInvitationLine(context: CommandContext, given: string | undefined): Promise<string> {
  if (given !== undefined && given !== '-') return given
  const answer =
    !context.isAttended || given === '-'
      ? await context.input(JOIN_REQUEST_MAX)
      : await context.ask('Paste the line that `s2 worker invite` printed: ', (text) => !isInvitationBegun(text))
  if (answer !== null && answer.trim() !== '') return answer
  throw new S2Error('invalid', 'no invitation was given', {
    next: 'have one made on the orchestrator’s host: s2 worker invite',
  })
}

/** A host's request to join, and the invitation that it answers. */
interface Request {
  readonly invitation: Invitation
  /** SHA-256 of `sealed`. */
  readonly id: string
  readonly sealed: string
}

interface JoinSettings {
  readonly S2_STATE: string
  readonly S2_GIT_TIMEOUT: number
}

/** The orchestrator's host judged the request, and said no: another way leads to the same answer. */
class JoinRefused extends S2Error {
  constructor(agent: string, why: string | null) {
    super('forbidden', `${agent} was refused: ${why ?? 'the orchestrator gave no reason'}`, {
      next: 'see on the orchestrator’s host whether it is a worker all the same (s2 worker list); else have it invited again: s2 worker invite',
    })
  }
}

/**
 * Makes this host a worker of the fleet that invites it: it makes its keys, which never leave it, and asks to be admitted; over
 * the bridge where that answers, else by a ref of the git remote, else by a line for a person to carry. Doing it again with
 * the same line is doing it once.
 */
export async function joinFleet(
  context: CommandContext,
  line: string,
  { force }: { readonly force: boolean },
): Promise<Joined> {
  const settings = readSettings(commandEnv(context), ['S2_STATE', 'S2_IDENTITY', 'S2_GIT_TIMEOUT'])
  const invitation = parseInvitation(line, context.clock.wall())
  const path = settings.S2_IDENTITY ?? identityFile(settings.S2_STATE)
  const before = await readIdentity(path)
  const isMember = before !== null && (await hasCredential(settings.S2_STATE))
  const identity = await identityFor(invitation, before, force || !isMember)
  // Kept before anybody hears of them: keys that were admitted must not be lost to a crash.
  await writeIdentity(path, identity)
  try {
    const request = await makeJoinRequest(invitation, identity, hostNameOf(hostname()))
    return await ask(context, { invitation, ...request }, settings)
  } catch (error) {
    // A worker that was refused keeps its fleet. A new host keeps its keys: nobody signs a refusal, so it may be admitted.
    if (error instanceof JoinRefused && isMember) await writeIdentity(path, before)
    throw error
  }
}

/** Asks to be admitted, by the first way that takes the request. Throws `forbidden` where it was refused. */
async function ask(context: CommandContext, request: Request, settings: JoinSettings): Promise<Joined> {
  const { agent, remote } = request.invitation
  const why: string[] = []
  for (const way of [askBridge, ...(remote === null ? [] : [askRemote])]) {
    try {
      return await way(context, request, settings)
    } catch (error) {
      if (!(error instanceof S2Error) || error instanceof JoinRefused) throw error
      why.push(error.message)
    }
  }
  return { way: 'line', agent, line: formatJoinRequest(request.sealed), why }
}

async function askBridge(context: CommandContext, request: Request, { S2_STATE }: JoinSettings): Promise<Joined> {
  const { agent, bridgeUrl } = request.invitation
  await submitRequest(bridgeUrl, request.sealed, context.clock)
  return { way: 'bridge', agent, isAdmitted: await waitForOutcome(context, request, S2_STATE) }
}

async function askRemote(context: CommandContext, request: Request, settings: JoinSettings): Promise<Joined> {
  const { invitation, id, sealed } = request
  const { agent, remote, branch } = invitation
  const place = { remote: remote ?? '', branch, timeoutMs: settings.S2_GIT_TIMEOUT }
  await using publisher = await GitPublisher.open(place, context)
  await publisher.leaveRequest(id, sealed)
  await hintCredentials(settings.S2_STATE)
  return { way: 'git', agent, remote: place.remote }
}

/** Whether this host has been a worker of its fleet, whatever became of it: keys that never were of use are replaced freely. */
async function hasCredential(state: string): Promise<boolean> {
  const { credentials, faults } = await readCredentials(state)
  return credentials.length + faults.length > 0
}

/** The keys to join by: those of this host where it belongs to the fleet already, else new ones. */
async function identityFor(
  { agent, orchestrator, bridgeUrl, remote, branch }: Invitation,
  known: HostIdentity | null,
  mayLeave: boolean,
): Promise<HostIdentity> {
  const before = known?.membership ?? null
  const isSameFleet = before?.orchestrator.key === orchestrator.key
  if (before !== null && !isSameFleet && !mayLeave) {
    throw new S2Error(
      'conflict',
      `this host belongs to another fleet already, as ${before.agent} of the bridge ${before.bridgeUrl}`,
      { next: 'use a state folder of its own for each fleet (S2_STATE), or leave that fleet with --force' },
    )
  }
  if (known !== null && before === null) {
    throw new S2Error('conflict', 'this is the host of an orchestrator: its keys sign the credentials of its fleet', {
      next: 'use a state folder of its own for a worker on this machine (S2_STATE)',
    })
  }
  const keys = known !== null && isSameFleet ? known : await makeIdentity()
  return { ...keys, membership: { agent, orchestrator, bridgeUrl, remote, branch } }
}

/** Whether it was admitted within a minute. Throws why it was refused. */
async function waitForOutcome({ clock }: CommandContext, { invitation, id }: Request, state: string): Promise<boolean> {
  const until = clock.now() + ADMITTED_WITHIN_MS
  for (;;) {
    const outcome = await askOutcome(invitation.bridgeUrl, id, clock).catch((error: unknown) => {
      if (isPassing(error)) return null // the bridge has the request, whatever becomes of one question
      throw error
    })
    if (outcome?.state === 'refused') throw new JoinRefused(invitation.agent, outcome.why)
    if (outcome?.state === 'admitted') {
      await hintCredentials(state)
      return true
    }
    if (clock.now() >= until) return false
    await clock.sleep(ASK_AGAIN_MS)
  }
}

/** Names of hosts are held to what a beat may carry. */
function hostNameOf(name: string): string {
  return name.replaceAll(/[^\w.:-]/g, '-').slice(0, 100) || 'host'
}
