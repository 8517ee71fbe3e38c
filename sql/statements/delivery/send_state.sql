-- Whether anything may be sent from here. The answer holds for the snapshot in which the queue is then read.
select state from webhook_delivery.send_state
