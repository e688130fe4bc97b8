/** Is it the sid of a Messaging Service? Twilio takes one as the sender too; a name as sender may begin as it does. */
export function isService(sender: string): boolean {
  return /^MG[0-9a-f]{32}$/i.test(sender);
}
