import type { CommandContext } from '#console/context.ts'
import { type Credential, parseCredentialFile, workerName } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Dialogue } from './dialogue.ts'
import { probeBridge } from './probe-bridge.ts'
import type { Todo } from './todo.ts'
import { fetchCredentialFile, type Remote } from './try-remote.ts'

/** Finds the credential of this worker, says what it holds and whether its bridge answers. Answers whether there is one. */
export async function checkCredential(
  context: CommandContext,
  dialogue: Dialogue,
  remote: Remote,
  number: number,
  todos: Todo[],
): Promise<boolean> {
  const credential = await findCredential(context, dialogue, remote, number, todos)
  if (credential === null) return false
  const { session, role, bridgeUrl } = credential
  dialogue.say(
    `${workerName(number)} has a credential there: conversation ${session.split('/')[0]}, role ${role}, bridge ${bridgeUrl}`,
  )
  const reach = await probeBridge(bridgeUrl, credential.bridgeCa, context.clock, dialogue.signal)
  dialogue.throwIfInterrupted()
  if (reach.answers) dialogue.say(`the bridge answers at ${bridgeUrl}`)
  else {
    dialogue.say(reach.why, `next: ${reach.next}`)
    todos.push({ what: `${reach.why}: ${reach.next}` })
  }
  return true
}

async function findCredential(
  context: CommandContext,
  dialogue: Dialogue,
  remote: Remote,
  number: number,
  todos: Todo[],
): Promise<Credential | null> {
  const again = (why: string): null => {
    dialogue.say(why)
    todos.push({
      what: `${why}: on the orchestrator's host`,
      commands: [`sudo s2 conversation create --role-b ROLE --number ${number}`],
    })
    return null
  }
  try {
    const file = await fetchCredentialFile(remote, number, context, dialogue.signal)
    dialogue.throwIfInterrupted()
    if (file === null) return again(`there is no credential of ${workerName(number)} in the remote yet`)
    return parseCredentialFile(file, number, context.clock.wall())
  } catch (error) {
    if (error instanceof S2Error) return again(error.message)
    throw error
  }
}
