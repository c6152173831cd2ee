import type { CommandContext } from '#console/context.ts'
import { type Credential, parseCredentialFile, workerName } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Dialogue } from './dialogue.ts'
import { probeBridge } from './probe-bridge.ts'
import type { Todo } from './todo.ts'
import { credentialIn, type Remote } from './try-remote.ts'

/** Looks for the credential of this worker and tells what it says and whether its bridge is reached; answers whether it is there. */
export async function checkCredential(
  context: CommandContext,
  dialogue: Dialogue,
  remote: Remote,
  number: number,
  left: Todo[],
): Promise<boolean> {
  const credential = await findCredential(context, dialogue, remote, number, left)
  if (credential === null) return false
  const { session, role, bridgeUrl } = credential
  dialogue.say(
    `${workerName(number)} has a credential there: conversation ${session.split('/')[0]}, role ${role}, bridge ${bridgeUrl}`,
  )
  const reach = await probeBridge(bridgeUrl, credential.bridgeCa, context.clock, dialogue.signal)
  dialogue.goOn()
  if (reach.answers) dialogue.say(`the bridge answers at ${bridgeUrl}`)
  else {
    dialogue.say(reach.why, `next: ${reach.next}`)
    left.push({ what: `${reach.why}: ${reach.next}` })
  }
  return true
}

async function findCredential(
  context: CommandContext,
  dialogue: Dialogue,
  remote: Remote,
  number: number,
  left: Todo[],
): Promise<Credential | null> {
  const again = (why: string): null => {
    dialogue.say(why)
    left.push({
      what: `${why}: on the orchestrator's host`,
      commands: [`sudo s2 conversation create --role-b ROLE --number ${number}`],
    })
    return null
  }
  try {
    const file = await credentialIn(remote, number, context, dialogue.signal)
    dialogue.goOn()
    if (file === null) return again(`there is no credential of ${workerName(number)} in the remote yet`)
    return parseCredentialFile(file, number, context.clock.wall())
  } catch (error) {
    if (error instanceof S2Error) return again(error.message)
    throw error
  }
}
