/** Every text of the page, in English. `de.ts` has the same ones. */
import type { Fault } from "../limits";

const counted = (count: number, singular: string, plural: string) => `${count} ${count === 1 ? singular : plural}`;
/** A time to wait, in a unit that is not too fine. */
const wait = (seconds: number) =>
  seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} h`;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

// What several codes mean to a person.
const pageFault = "Something went wrong on this page. Load it again, then try again.";
const uploadGone = "The upload has run out. Try again: the image is still on this device.";
const sentElsewhere = "Another window sends this already. Wait until it is done there, or try again.";
const imageGone = "This image is no longer there. Remove this from the list.";

export const en = {
  title: "Images",
  sort: "Sort",
  top: "Top",
  newest: "New",
  newPost: "New post",
  signIn: "Sign in",
  signOut: "Sign out",
  cancel: "Cancel",
  close: "Close",
  save: "Save",
  edit: "Edit",
  delete: "Delete",
  remove: "Remove",
  send: "Send",
  post: "Post",
  pause: "Pause",
  resume: "Resume",
  tryAgain: "Try again",
  caption: "Caption",
  alt: "Alt text",
  altHint: "What one would say of it to somebody who cannot see it.",
  imageBy: (name: string) => `Image by ${name}`,
  edited: "edited",

  showMore: "Show more",
  loading: "Loading",
  end: "You have seen everything.",
  nothingYet: "Nobody has posted anything yet. Be the first: choose New post.",
  feedFailed: "The images could not be loaded. Check your connection, then try again.",

  comments: (count: number) => `Comments (${count})`,
  commentList: "Comments",
  comment: "Comment",
  commentHint: "Say something about this image",
  noComments: "No comments yet.",
  olderComments: "Show older comments",
  commentsFailed: "The comments could not be loaded. Try again when you are online.",
  postGone: "This image is no longer there. Close this to go back to the others.",
  previous: "Previous image",
  next: "Next image",
  editComment: "Edit comment",
  deleteComment: "Delete this comment?",
  deletePost: "Delete this image?",
  deletePostHint: "Its comments are deleted with it. This cannot be undone.",
  editPost: "Edit post",

  images: "Images",
  chooseImages: "Choose images, drop them anywhere on the page, or paste them.",
  removeImage: (name: string) => `Remove ${name}`,
  noPreview: "This browser cannot show a preview. The image can be posted all the same.",
  smaller: "Smaller (2048 px)",
  smallerSaves: (bytes: number) => `Saves ${megabytes(bytes)} of your data.`,
  smallerNothing: "It would not be smaller, so the image is sent as it is.",
  smallerFailed: "This browser cannot make it smaller, so the image is sent as it is.",
  working: "Making it smaller",
  draftsRefused: "Remove or change what is marked, then post.",
  fault: (fault: Fault): string => {
    switch (fault.is) {
      case "empty":
        return "This file is empty. Choose another one.";
      case "unreadable":
        return "The browser can no longer read this file. Choose it again.";
      case "format":
        return "This is no image that can be posted. Choose a JPEG, PNG, WebP, GIF, BMP, HEIC or AVIF.";
      case "bytes":
        return `This file is too large: at most ${megabytes(fault.max)} can be posted.`;
      case "pixels":
        return `This image has too many pixels: at most ${Math.floor(fault.max / 1e6)} megapixels can be posted. Choose “Smaller”, or another one.`;
      case "long":
        return `At most ${fault.max} characters; these are ${fault.has}.`;
      case "character":
        return fault.character === "NUL"
          ? "There is a character without a meaning (NUL) in this text. Type the text again."
          : "There is half a character (a lone surrogate) in this text, often the rest of an emoji. Delete it, or type the text again.";
    }
  },
  storageFull: "There is no room left on this device to keep it until it is sent. Free some space, then try again.",
  fileUnreadable: "The browser can no longer read this file. Choose it again.",
  inMemoryOnly: "This browser refuses to store this. Keep this page open until it is sent.",

  name: "Name",
  nameHint: "On this machine everybody is who they say they are.",
  token: "Token",
  tokenHint: "Whoever runs this service gives you one: image-poster token YOUR-NAME.",
  goToIssuer: (host: string) => `Continue at ${host}`,
  signInRefused: "That was not accepted. Check it, or ask for a new one.",
  nameRefused: "That is no name that can be taken. Use 1 to 128 printable characters.",
  signInUnreachable: "The service cannot be reached. Try again when you are online.",
  signedInAs: (name: string) => `Signed in as ${name}`,
  signOutWaiting: (count: number) =>
    `${counted(count, "thing of yours is", "things of yours are")} not sent yet. They stay on this device and are sent when you sign in again.`,
  signOutQuestion: "Sign out?",

  uploads: "Uploads",
  waitingRegion: "Not sent yet",
  progressOf: (name: string) => `Progress of ${name}`,
  stateWaiting: "Waiting",
  stateWaitingFor: (name: string) => `Waiting until ${name} signs in`,
  stateOffline: "Waiting for a connection",
  stateReserving: "Starting",
  stateUploading: (percent: number) => `Uploading, ${percent} %`,
  stateRetrying: (seconds: number) => `Trying again in ${wait(seconds)}`,
  stateProcessing: "Processing",
  stateRemoving: "Removing",
  statePaused: "Paused",
  stateFailed: (why: string) => `Failed: ${why}`,
  stateOld: "This was first sent over six days ago, or the clock of this device was wrong. It may have arrived. Look first, then send it again or remove it.",
  stateConflict: "Somebody changed this while your change was on its way. Which one shall stay?",
  sendAgain: "Send again",
  mine: "Yours",
  theirs: "What is there now",
  useMine: "Use mine",
  useTheirs: "Keep theirs",
  waitingComment: (text: string) => `Comment: ${text}`,
  waitingEdit: (text: string) => `Edit: ${text}`,
  waitingDeletion: "Deletion of an image",
  waitingCommentDeletion: "Deletion of a comment",

  offline: "You are offline. This is what you saw last.",
  offlineWaiting: (count: number) => `Offline: ${count} waiting`,
  sending: (count: number) => `Sending: ${count} waiting`,
  signInAgain: (count: number) => `Sign in again to go on: ${count} waiting`,
  donePost: "Your image is posted.",
  doneComment: "Your comment is sent.",
  doneEdit: "Your change is saved.",
  doneDeletion: "It is deleted.",
  goneMeanwhile: "It had been deleted meanwhile, so nothing was changed.",
  sendingFailed: "Something was not taken. See the list above the images.",

  /** What the service says by a code (docs/problems.md); a test compares. */
  problems: {
    unreadable: "The browser can no longer read this image. Remove it, and choose it again.",
    identity_required: "You are not signed in any more. Sign in, and it goes on.",
    not_yours: "This belongs to somebody else. Remove this from the list.",
    admins_only: "Only admins may do this. Ask one of them.",
    direct_access: "This is not the address of the service. Open the one that its operators gave you.",
    host_not_allowed: "The service answers to this machine's own name alone. Open it as localhost.",
    rate_limited: "That was more than the service takes from one person at a time. Wait a little, and it goes on.",
    busy: "The service is busy. Wait a moment, and it goes on.",
    not_ready: "The service can take nothing just now. Wait a moment, and it goes on.",
    internal_error: "Something went wrong at the service. Wait a little; if it stays so, tell its operators.",
    storage_full: "The service has no room left. Wait a little; if it stays so, tell its operators.",
    body_silent: "The connection was silent for too long. Look for a better one, and it goes on.",
    request_in_progress: "The service is still at it. Wait a moment.",
    image_unreadable: "The image is damaged or incomplete. Choose a whole copy of it, or another image.",
    image_unsupported: "This kind of image cannot be shown. Save it in another format, then post that.",
    image_too_large: "The image has too many pixels. Post a smaller one.",
    image_too_slow: "The image takes too long to read. Save it anew, or smaller, then post that.",
    processing_failed: "The service could not make this image ready, through no fault of yours. Tell its operators, or try again later.",
    unsupported_image: "This is no image that can be posted. Choose another one.",
    upload_too_large: "The file is too large. Post a smaller one.",
    body_too_large: "The text is too long. Make it shorter, then send it again.",
    validation_failed: "The service does not take this as it is. Remove it from the list, and make it anew.",
    checksum_mismatch: "The image was damaged on its way. Try again.",
    upload_gone: uploadGone,
    upload_not_found: uploadGone,
    upload_url_invalid: uploadGone,
    upload_taken_over: sentElsewhere,
    offset_mismatch: sentElsewhere,
    post_not_found: imageGone,
    image_not_found: imageGone,
    comment_not_found: "This comment is no longer there. Remove this from the list.",
    post_not_ready: "The image is not ready yet. Try again in a moment.",
    gone: "What you made had been deleted before this arrived again. Remove this from the list, or make it anew.",
    edit_conflict: "Somebody changed this meanwhile. Look at what is there now, then change it again.",
    idempotency_key_reused: "The service has taken something else in its place. Look whether it is there, then try again.",
    page_error: pageFault,
    invalid_json: pageFault,
    invalid_multipart: pageFault,
    invalid_request: pageFault,
    invalid_cursor: pageFault,
    invalid_tus_request: pageFault,
    tus_version_unsupported: pageFault,
    concatenation_unsupported: pageFault,
    route_not_found: pageFault,
    method_not_allowed: pageFault,
    multipart_too_large: pageFault,
    piece_too_large: pageFault,
    unsupported_media_type: pageFault,
    range_not_satisfiable: pageFault,
  },
};

export type Texts = typeof en;
