import type { CommandContext } from '#console/context.ts'
import { parseSession, type SessionId } from '#fleet/session-id.ts'
import { McpServer } from '#mcp/mcp-server.ts'
import { serveStdio } from '#mcp/stdio.ts'
import { callTool, INSTRUCTIONS, SHOWN_TOOLS } from '#mcp/tools.ts'
import type { Member } from '#member/member.ts'
import { VERSION } from '#runtime/version.ts'

/**
 * Serves the client that started this program, until its input ends. All that a call needs is loaded by the first one: a client
 * starts a server for each of its sessions, and most sessions look at the list of tools and call none.
 */
export async function serveMcp(context: CommandContext, session: string | null): Promise<void> {
  if (session !== null) parseSession(session)
  await using opened = new AsyncDisposableStack()
  let member: Promise<Member> | null = null
  let named: string | null = null
  const open = (): Promise<Member> => {
    member ??= openMember(context, session as SessionId | null, opened, () => named)
    member.catch(() => {
      member = null // the next call tries again
    })
    return member
  }
  const server = new McpServer({
    version: VERSION,
    instructions: INSTRUCTIONS,
    tools: SHOWN_TOOLS,
    call: (name, input, _signal, { sessionId }) => {
      // Codex starts a server for each of its sessions, and names that with each call.
      if (typeof sessionId === 'string') named = sessionId
      return callTool(open, name, input)
    },
  })
  const write = async (line: string): Promise<void> => {
    context.print(line)
    await context.flush()
  }
  await serveStdio(server, process.stdin, write, context.clock)
}

async function openMember(
  context: CommandContext,
  session: SessionId | null,
  opened: AsyncDisposableStack,
  named: () => string | null,
): Promise<Member> {
  const { openMember: openHere } = await import('./open-host-member.ts')
  return await openHere(context, { session, without: 'parent', named }, opened)
}
