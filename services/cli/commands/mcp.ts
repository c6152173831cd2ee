import { randomBytes } from 'node:crypto'
import type { Command } from 'commander'
import { clientProcessAbove } from '#agents/client-process.ts'
import { CLIENTS } from '#agents/client-session.ts'
import type { CommandContext } from '#console/context.ts'
import { stateFolder } from '#console/state-folder.ts'
import { conversationOf, type SessionId, sideOf } from '#fleet/session-id.ts'
import { findCaller } from '#member/caller.ts'
import { HostSessions } from '#member/host-sessions.ts'
import { ANY_SPEAKER } from '#member/member.ts'
import { processStart } from '#runtime/process-stat.ts'
import { session as readSession } from '../option-parsers.ts'
import { serveMcp } from '../serve-mcp.ts'

const EXAMPLES = `
Examples:
  claude mcp add -s user s2 -- s2 mcp       Claude Code has the tools in every folder
  codex mcp add s2 -- s2 mcp                and so has Codex

It speaks the Model Context Protocol over its standard input and output, and ends with its input. docs/agents.md has the tools.
With --headers it prints what a client sends to /mcp of the bridge instead (Claude Code: "headersHelper"): it holds a secret.`

interface Options {
  readonly session?: SessionId
  readonly headers?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .option(
      '--session <session>',
      'the session that calls mean which name none, where this host has several',
      readSession,
    )
    .option('--headers', 'print the headers of a request to /mcp of the bridge, as JSON')
    .addHelpText('after', EXAMPLES)
    .action(async ({ session = null, headers }: { session?: SessionId | null } & Omit<Options, 'session'>) => {
      if (headers === true) await printHeaders(context, session)
      else await serveMcp(context, session)
    })
}

async function printHeaders(context: CommandContext, session: SessionId | null): Promise<void> {
  const said =
    session === null ? ANY_SPEAKER : { conversation: conversationOf(session), side: sideOf(session), token: null }
  const state = stateFolder(context)
  const { session: own, token } = await new HostSessions(state, null).speaker(said)
  const reader = await readerHere(state)
  const headers = { Authorization: `Bearer ${own}.${token}`, 'S2-Reader': reader }
  context.print(`${JSON.stringify(headers)}\n`)
}

/** Which client asks for the headers, or which process: the bridge keeps what one has in hand apart from what the next one reads. */
async function readerHere(state: string): Promise<string> {
  const asking = { state, parent: process.ppid, without: 'host', place: undefined, env: {}, named: null } as const
  const { by } = await findCaller(asking)
  if (by !== null) return `${by.client}:${by.id}`
  for (const client of CLIENTS) {
    const found = clientProcessAbove(client, process.ppid)
    if (found !== null) return `${client}:${found.pid}:${found.startTicks}`
  }
  const { ppid } = process
  return `process:${ppid}:${processStart(ppid) ?? randomBytes(8).toString('hex')}`
}
