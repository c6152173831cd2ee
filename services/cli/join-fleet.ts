import { hostname } from 'node:os'
import type { CommandContext } from '#console/context.ts'
import { commandEnv } from '#console/state-folder.ts'
import { isPassing, S2Error } from '#fleet/errors.ts'
import { JOIN_REQUEST_MAX } from '#fleet/worker.ts'
import { GitPublisher } from '#git/git-publisher.ts'
import { askOutcome, submitRequest } from '#identity/bridge-mailbox.ts'
import { type HostIdentity, identityFile, makeIdentity, readIdentity, writeIdentity } from '#identity/identity-file.ts'
import { formatJoinRequest, type Invitation, makeJoinRequest, parseInvitation } from '#identity/joining.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { hintCredentials } from '#spool/credential-hint.ts'

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
  if (!context.isAttended || given === '-') return await context.input(JOIN_REQUEST_MAX)
  const answer = await context.ask('Paste the line that `s2 worker invite` printed: ')
  if (answer !== null && answer.trim() !== '') return answer
  throw new S2Error('invalid', 'no invitation was given', {
    next: 'have one made on the orchestrator’s host: s2 worker invite',
  })
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
  const identity = await keysFor(path, invitation, force)
  const { id, sealed } = await makeJoinRequest(invitation, identity, hostNameOf(hostname()))
  const { agent, bridgeUrl, remote } = invitation
  const why: string[] = []
  try {
    await submitRequest(bridgeUrl, sealed, context.clock)
    return { way: 'bridge', agent, isAdmitted: await waitForOutcome(context, invitation, id, settings.S2_STATE) }
  } catch (error) {
    if (!(error instanceof S2Error) || !isPassing(error)) throw error
    why.push(error.message)
  }
  if (remote !== null) {
    try {
      await leaveAtRemote(context, invitation, { id, sealed }, settings.S2_GIT_TIMEOUT)
      await hintCredentials(settings.S2_STATE)
      return { way: 'git', agent, remote }
    } catch (error) {
      if (!(error instanceof S2Error)) throw error
      why.push(error.message)
    }
  }
  return { way: 'line', agent, line: formatJoinRequest(sealed), why }
}

async function keysFor(
  path: string,
  { agent, orchestrator, bridgeUrl, remote, branch }: Invitation,
  force: boolean,
): Promise<HostIdentity> {
  const known = await readIdentity(path)
  const before = known?.membership ?? null
  if (before !== null && before.orchestrator.key !== orchestrator.key && !force) {
    throw new S2Error(
      'conflict',
      `this host belongs to another fleet already, as ${before.agent} of the bridge ${before.bridgeUrl}`,
      {
        next: 'use a state folder of its own for each fleet (S2_STATE), or leave that fleet with --force',
      },
    )
  }
  if (known !== null && before === null) {
    throw new S2Error('conflict', 'this is the host of an orchestrator: its keys sign the credentials of its fleet', {
      next: 'use a state folder of its own for a worker on this machine (S2_STATE)',
    })
  }
  const isSameFleet = before !== null && before.orchestrator.key === orchestrator.key
  const keys = known !== null && isSameFleet ? known : await makeIdentity()
  const identity = { ...keys, membership: { agent, orchestrator, bridgeUrl, remote, branch } }
  await writeIdentity(path, identity)
  return identity
}

/** Whether it was admitted within a minute. Throws why it was refused. */
async function waitForOutcome(
  context: CommandContext,
  { agent, bridgeUrl }: Invitation,
  id: string,
  state: string,
): Promise<boolean> {
  const { clock } = context
  const until = clock.now() + ADMITTED_WITHIN_MS
  for (;;) {
    const { state: outcome, why } = await askOutcome(bridgeUrl, id, clock)
    if (outcome === 'refused') {
      throw new S2Error('forbidden', `${agent} was refused: ${why ?? 'the orchestrator gave no reason'}`, {
        next: 'have it invited again on the orchestrator’s host: s2 worker invite',
      })
    }
    if (outcome === 'admitted') {
      await hintCredentials(state)
      return true
    }
    if (clock.now() >= until) return false
    await clock.sleep(ASK_AGAIN_MS)
  }
}

async function leaveAtRemote(
  context: CommandContext,
  { remote, branch }: Invitation,
  { id, sealed }: { readonly id: string; readonly sealed: string },
  timeoutMs: number,
): Promise<void> {
  await using publisher = await GitPublisher.open({ remote: remote ?? '', branch, timeoutMs }, context)
  await publisher.leaveRequest(id, sealed)
}

/** Names of hosts are held to what a beat may carry. */
function hostNameOf(name: string): string {
  return name.replaceAll(/[^\w.:-]/g, '-').slice(0, 100) || 'host'
}
